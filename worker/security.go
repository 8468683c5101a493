package worker

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"regexp"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// security reads security.protocol and the ssl. and sasl. settings of Kafka's Java
// clients.
func (r *clientReader) security() {
	protocol := strings.ToUpper(r.text("security.protocol", "PLAINTEXT"))
	switch protocol {
	case "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL":
	default:
		r.fault("security.protocol", "Invalid value %s for configuration security.protocol: String must be one of: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL", protocol)
		return
	}
	if strings.HasSuffix(protocol, "SSL") {
		if config := r.tls(); config != nil {
			r.add(kgo.DialTLSConfig(config))
		}
	}
	if strings.HasPrefix(protocol, "SASL") {
		if m := r.mechanism(); m != nil {
			r.add(kgo.SASL(m))
		}
	}
}

// tls reads certificates as PEM, in files or in the settings themselves. Java's own
// key stores are refused with the command that converts them.
func (r *clientReader) tls() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if pem, ok := r.pem("ssl.truststore.certificates", "ssl.truststore.location", "ssl.truststore.type"); ok {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			r.fault("ssl.truststore.location", "no certificate was found in the trust store")
		}
	}
	chain, ok := r.pem("ssl.keystore.certificate.chain", "ssl.keystore.location", "ssl.keystore.type")
	if ok {
		secret := chain
		if text := r.text("ssl.keystore.key", ""); text != "" {
			secret = []byte(text)
		}
		pair, err := tls.X509KeyPair(chain, secret)
		if err != nil {
			r.fault("ssl.keystore.location", "the key store cannot be used: %s → it must hold the certificate and an unencrypted key as PEM", err)
			return nil
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if name, given := r.props["ssl.endpoint.identification.algorithm"]; given && strings.TrimSpace(name) == "" {
		r.skipHostname(config)
	}
	return config
}

// skipHostname checks the chain of certificates but not the host's name, as an empty
// ssl.endpoint.identification.algorithm asks for.
func (r *clientReader) skipHostname(config *tls.Config) {
	roots := config.RootCAs
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		others := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			others.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others})
		return err
	}
}

// pem returns the content of a store given inline or as a file, and whether one was
// given.
func (r *clientReader) pem(inline, location, kind string) ([]byte, bool) {
	if text := r.text(inline, ""); text != "" {
		return []byte(text), true
	}
	file := r.text(location, "")
	if file == "" {
		return nil, false
	}
	data, err := os.ReadFile(file)
	if err != nil {
		r.fault(location, "the store cannot be read: %s", err)
		return nil, false
	}
	if !strings.Contains(string(data), "-----BEGIN") {
		r.fault(location, "%s is a Java key store (%s) → convert it: keytool -importkeystore -srckeystore %s -destkeystore s.p12 -deststoretype PKCS12, then openssl pkcs12 -in s.p12 -nodes -out s.pem, and set %s=PEM",
			file, r.text(kind, "JKS"), file, kind)
		return nil, false
	}
	return data, true
}

// jaasOption finds key="value" or key='value' in a JAAS line.
var jaasOption = regexp.MustCompile(`(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;]+))`)

// jaas returns the options of sasl.jaas.config.
func jaas(line string) map[string]string {
	options := map[string]string{}
	for _, m := range jaasOption.FindAllStringSubmatch(line, -1) {
		options[m[1]] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2]) + m[3] + m[4]
	}
	return options
}

func (r *clientReader) mechanism() sasl.Mechanism {
	options := jaas(r.text("sasl.jaas.config", ""))
	user, password := options["username"], options["password"]
	name := strings.ToUpper(r.text("sasl.mechanism", "GSSAPI"))
	if name != "OAUTHBEARER" && name != "GSSAPI" && (user == "" || password == "") {
		r.fault("sasl.jaas.config", `username and password are missing → write it as org.apache.kafka.common.security.plain.PlainLoginModule required username="…" password="…";`)
		return nil
	}
	switch name {
	case "PLAIN":
		return plain.Auth{User: user, Pass: password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	case "OAUTHBEARER":
		if token := options["token"]; token != "" {
			return oauth.Auth{Token: token}.AsMechanism()
		}
		r.fault("sasl.jaas.config", `OAUTHBEARER needs token="…" here; fetching tokens from an endpoint is not supported`)
		return nil
	}
	r.fault("sasl.mechanism", "the mechanism %s is not supported → use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER", name)
	return nil
}
