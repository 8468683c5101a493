package worker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
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
	} else {
		r.inClear()
	}
	if strings.HasPrefix(protocol, "SASL") {
		if m := r.mechanism(); m != nil {
			r.add(kgo.SASL(m))
		}
	}
}

// allowClear is the setting by which somebody says that a password may go over the network
// as it is. It is ours: Java's clients ask nobody.
const allowClear = "sasl.plain.allow.cleartext"

// inClear refuses mechanisms that send what they keep secret as it is, where everybody on
// the way could read it.
func (r *clientReader) inClear() {
	protocol, name := strings.ToUpper(r.text("security.protocol", "PLAINTEXT")), strings.ToUpper(r.text("sasl.mechanism", "GSSAPI"))
	if protocol == "SASL_PLAINTEXT" && (name == "PLAIN" || name == "OAUTHBEARER") && !strings.EqualFold(r.text(allowClear, "false"), "true") {
		r.fault("security.protocol", "with SASL_PLAINTEXT, %s would send the password or token over the network in the clear → use SASL_SSL, or SCRAM-SHA-512, or set %s=true if that is wanted", name, allowClear)
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
		if strings.Contains(string(secret), "ENCRYPTED PRIVATE KEY") {
			err = errors.New("its key is encrypted (ssl.key.password is not understood here); decrypt it: openssl pkcs8 -in key.pem -out plain.pem")
		}
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
		r.fault(location, "%s is no PEM (%s) → %s, and set %s=PEM", file, r.text(kind, "JKS"), toPEM(location, file), kind)
		return nil, false
	}
	return data, true
}

// toPEM is the command that makes PEM of a store of Java. Certificates that a store trusts
// have to be named one by one; a key comes by way of the other format of stores.
func toPEM(location, file string) string {
	if location == "ssl.truststore.location" {
		return "write its certificates: keytool -list -rfc -keystore " + file + " > trusted.pem"
	}
	return "convert it: keytool -importkeystore -srckeystore " + file + " -destkeystore s.p12 -deststoretype PKCS12, then openssl pkcs12 -in s.p12 -nodes -out s.pem"
}
