package worker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// papers are the certificates of a test: an authority, and what it has signed.
type papers struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newPapers(t *testing.T) *papers {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &papers{t: t, cert: cert, key: key, next: 1}
}

// sign returns certificate and key as PEM, one behind the other, for a server at address or
// a client.
func (p *papers) sign(address string) string {
	p.t.Helper()
	p.next++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(p.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(p.next), Subject: pkix.Name{CommonName: "one"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(address)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, &key.PublicKey, p.key)
	must(p.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(p.t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func (p *papers) trusted() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}))
}

// server is what a broker listens with; it asks clients for certificates if clients says so.
func (p *papers) server(address string, clients bool) *tls.Config {
	p.t.Helper()
	text := []byte(p.sign(address))
	pair, err := tls.X509KeyPair(text, text)
	must(p.t, err)
	c := &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		c.ClientCAs.AddCert(p.cert)
	}
	return c
}

// guardedLab is for brokers that ask clients who they are, and reads them by the given
// settings.
func guardedLab(t *testing.T, settings connect.Config, brokers []string) *lab {
	t.Helper()
	l := labWith(t, brokers)
	l.client.Close()
	var err error
	l.client, err = kgo.NewClient(guardedOptions(t, l, settings)...)
	must(t, err)
	l.admin = kadm.NewClient(l.client)
	return l
}

// letIn has a source and a sink work through brokers that ask who they are: all clients of
// a worker have to show it.
func letIn(t *testing.T, settings connect.Config, brokers []string, topic string) {
	t.Helper()
	l := guardedLab(t, settings, brokers)
	w := l.start(with(settings, "group.id", topic, "config.storage.topic", topic+"-configs", "offset.storage.topic", topic+"-offsets", "status.storage.topic", topic+"-status"))
	w.create("c", counter(topic, "count", "3"))
	w.create("s", keeper(topic))
	wait(t, "the sink has what the source made", func() bool { return len(l.keptBy("s")) == 3 })
	if got := l.values(topic, guardedOptions(t, l, settings)...); len(got) != 3 {
		t.Errorf("the topic has %q", got)
	}
}

func guardedOptions(t *testing.T, l *lab, settings connect.Config) []kgo.Opt {
	t.Helper()
	opts, err := ClientOptions(with(settings, "bootstrap.servers", l.brokers))
	must(t, err)
	return opts
}

func loginAs(user, password string) string {
	return fmt.Sprintf(`org.apache.kafka.common.security.scram.ScramLoginModule required username="%s" password="%s";`, user, password)
}

// TestWorkersShowBrokersWhoTheyAre is about brokers that ask in each way they can;
// TestApacheKafkaAsks is about Apache Kafka's.
func TestWorkersShowBrokersWhoTheyAre(t *testing.T) {
	p := newPapers(t)
	own := filepath.Join(t.TempDir(), "own.pem")
	must(t, os.WriteFile(own, []byte(p.sign("127.0.0.1")), 0o600))
	sasl := func(mechanism string) []kfake.Opt {
		return []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(mechanism, "worker", `pa"ss\word`)}
	}
	encrypted := connect.Config{"security.protocol": "SASL_SSL", "ssl.truststore.certificates": p.trusted(), "sasl.jaas.config": loginAs("worker", `pa\"ss\\word`)}
	for name, tt := range map[string]struct {
		settings connect.Config
		brokers  []kfake.Opt
	}{
		"PLAIN":                  {with(encrypted, "sasl.mechanism", "PLAIN"), append(sasl("PLAIN"), kfake.TLS(p.server("127.0.0.1", false)))},
		"SCRAM-SHA-256":          {with(encrypted, "sasl.mechanism", "SCRAM-SHA-256"), append(sasl("SCRAM-SHA-256"), kfake.TLS(p.server("127.0.0.1", false)))},
		"SCRAM-SHA-512":          {with(encrypted, "sasl.mechanism", "SCRAM-SHA-512"), append(sasl("SCRAM-SHA-512"), kfake.TLS(p.server("127.0.0.1", false)))},
		"SCRAM-SHA-512 in clear": {with(encrypted, "sasl.mechanism", "SCRAM-SHA-512", "security.protocol", "SASL_PLAINTEXT"), sasl("SCRAM-SHA-512")},
		"certificates": {
			connect.Config{"security.protocol": "SSL", "ssl.truststore.certificates": p.trusted(), "ssl.keystore.location": own, "ssl.keystore.type": "PEM"},
			[]kfake.Opt{kfake.TLS(p.server("127.0.0.1", true))},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, err := kfake.NewCluster(append(tt.brokers, kfake.NumBrokers(1))...)
			must(t, err)
			t.Cleanup(cluster.Close)
			letIn(t, tt.settings, cluster.ListenAddrs(), "numbers")
		})
	}
}

// TestBrokersThatAreRefused: a client speaks to nobody who is not who they should be, and
// brokers refuse whom they do not know.
func TestBrokersThatAreRefused(t *testing.T) {
	p, stranger := newPapers(t), newPapers(t)
	right := connect.Config{"security.protocol": "SASL_SSL", "ssl.truststore.certificates": p.trusted(), "sasl.mechanism": "PLAIN", "sasl.jaas.config": loginAs("worker", "right")}
	brokers := func(c *tls.Config) string {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "worker", "right"), kfake.TLS(c))
		must(t, err)
		t.Cleanup(cluster.Close)
		return cluster.ListenAddrs()[0]
	}
	old := p.server("127.0.0.1", false)
	old.MaxVersion = tls.VersionTLS11
	good, other := brokers(p.server("127.0.0.1", false)), brokers(p.server("127.0.0.2", false))
	for name, tt := range map[string]struct {
		settings connect.Config
		want     string // What the error says; "" for none.
	}{
		"right":                  {with(right, "bootstrap.servers", good), ""},
		"another password":       {with(right, "bootstrap.servers", good, "sasl.jaas.config", loginAs("worker", "wrong-4711")), "EOF"}, // This broker hangs up.,
		"another authority":      {with(right, "bootstrap.servers", good, "ssl.truststore.certificates", stranger.trusted()), "unknown authority"},
		"the system's":           {with(right, "bootstrap.servers", good, "ssl.truststore.certificates", ""), "x509"},
		"another's address":      {with(right, "bootstrap.servers", other), "127.0.0.1"},
		"another's, not checked": {with(right, "bootstrap.servers", other, "ssl.endpoint.identification.algorithm", ""), ""},
		"not checked, stranger's": {with(right, "bootstrap.servers", other, "ssl.endpoint.identification.algorithm", "", "ssl.truststore.certificates", stranger.trusted()),
			"unknown authority"},
		"an old version":     {with(right, "bootstrap.servers", brokers(old)), "protocol version"},
		"asks, is not shown": {with(connect.Config{"security.protocol": "SSL", "ssl.truststore.certificates": p.trusted()}, "bootstrap.servers", brokers(p.server("127.0.0.1", true))), "certificate"},
	} {
		opts, err := ClientOptions(tt.settings)
		must(t, err)
		client, err := kgo.NewClient(append(opts, kgo.RequestRetries(0))...)
		must(t, err)
		err = client.Ping(t.Context())
		client.Close()
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "4711")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSecuritySettings are those that are refused, by name and with what would be right.
func TestSecuritySettings(t *testing.T) {
	p := newPapers(t)
	jks := filepath.Join(t.TempDir(), "store.jks")
	must(t, os.WriteFile(jks, []byte("\xfe\xed\xfe\xed"), 0o600))
	locked := strings.ReplaceAll(p.sign("127.0.0.1"), "PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
	login := loginAs("u", "geheim")
	oauth := `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId="id" clientSecret="geheim";`
	const endpoint = "sasl.oauthbearer.token.endpoint.url"
	for name, tt := range map[string]struct {
		settings    connect.Config
		place, want string
	}{
		"a password in the clear":   {connect.Config{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.jaas.config": login}, "security.protocol", "SASL_SSL"},
		"a token in the clear":      {connect.Config{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER", "sasl.jaas.config": `x required token="geheim";`}, "security.protocol", "SASL_SSL"},
		"no login":                  {connect.Config{"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}, "sasl.jaas.config", "username and password"},
		"Kerberos":                  {connect.Config{"security.protocol": "SASL_SSL", "sasl.jaas.config": login}, "sasl.mechanism", "GSSAPI is not supported"},
		"Java's store of keys":      {connect.Config{"security.protocol": "SSL", "ssl.keystore.location": jks}, "ssl.keystore.location", "openssl pkcs12 -in"},
		"Java's store of trust":     {connect.Config{"security.protocol": "SSL", "ssl.truststore.location": jks}, "ssl.truststore.location", "keytool -list -rfc"},
		"a key that is encrypted":   {connect.Config{"security.protocol": "SSL", "ssl.keystore.certificate.chain": locked, "ssl.keystore.key": locked}, "ssl.keystore.location", "openssl pkcs8"},
		"trust in nothing":          {connect.Config{"security.protocol": "SSL", "ssl.truststore.certificates": "x"}, "ssl.truststore.location", "no certificate"},
		"an endpoint in the clear":  {connect.Config{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.jaas.config": oauth, endpoint: "http://id.example/token"}, endpoint, "https://"},
		"an endpoint of no use":     {connect.Config{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.jaas.config": oauth, endpoint: "://"}, endpoint, "of no use"},
		"a secret in the address":   {connect.Config{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.jaas.config": oauth, endpoint: "https://u:geheim@id.example/token"}, endpoint, "of no use"},
		"a file elsewhere":          {connect.Config{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", endpoint: "file://host/x"}, endpoint, "of no use"},
		"no credentials":            {connect.Config{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", endpoint: "https://id.example/token"}, "sasl.jaas.config", "clientSecret"},
		"no token from anywhere":    {connect.Config{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}, "sasl.jaas.config", "clientId"},
		"another's login module":    {connect.Config{"security.protocol": "SASL_SSL", "sasl.mechanism": "JNDI", "sasl.jaas.config": `com.sun.security.auth.module.JndiLoginModule required username="u" password="geheim";`}, "sasl.mechanism", "not supported"},
		"a protocol that is unsafe": {connect.Config{"security.protocol": "SSLv3"}, "security.protocol", "must be one of"},
	} {
		_, err := ClientOptions(tt.settings)
		if err == nil || !strings.Contains(err.Error(), tt.place+": ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", name, err)
		}
	}
	told := connect.Config{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.jaas.config": login, allowClear: "true"}
	if _, err := ClientOptions(told); err != nil {
		t.Errorf("in the clear, as it was told: %v", err)
	}
}

// identity is a server that gives tokens.
type identity struct {
	*httptest.Server
	asked int
	life  string
	last  *http.Request
}

func newIdentity(t *testing.T) *identity {
	i := &identity{life: "3600"}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked++
		must(t, r.ParseForm())
		i.last = r
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusTemporaryRedirect)
		case "/no":
			http.Error(w, "said-4711", http.StatusForbidden)
		case "/empty":
			fmt.Fprint(w, `{"said":"said-4711"}`)
		default:
			fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":%s}`, i.asked, i.life)
		}
	}))
	t.Cleanup(i.Close)
	return i
}

func TestTokensForBrokers(t *testing.T) {
	i := newIdentity(t)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("of-a-file\n"), 0o600))
	settings := func(path, jaas string) connect.Config {
		c := connect.Config{
			"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.jaas.config": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required " + jaas + ";",
			"ssl.truststore.certificates": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})),
		}
		if path != "" {
			c["sasl.oauthbearer.token.endpoint.url"] = path
		}
		return c
	}
	// say returns what a client says first to a broker.
	say := func(r *clientReader) func() (string, error) {
		m := r.mechanism()
		if m == nil {
			t.Fatal(r.faults)
		}
		return func() (string, error) {
			_, text, err := m.Authenticate(context.Background(), "broker:9092")
			return string(text), err
		}
	}
	credentials := `clientId="id" clientSecret="sec:ret" scope="kafka" extension_logicalCluster="lkc-1"`
	kept := say(&clientReader{props: settings(i.URL+"/token", credentials)})
	for range 2 {
		if text, err := kept(); err != nil || text != "n,,\x01auth=Bearer token-1\x01logicalCluster=lkc-1\x01\x01" {
			t.Errorf("%q %v", text, err)
		}
	}
	user, password, _ := i.last.BasicAuth()
	if i.asked != 1 || user != "id" || password != "sec:ret" || i.last.Form.Get("grant_type") != "client_credentials" || i.last.Form.Get("scope") != "kafka" {
		t.Errorf("asked %d times, %s %s %v", i.asked, user, password, i.last.Form)
	}
	i.life = "0"
	short := say(&clientReader{props: settings(i.URL+"/token", credentials)})
	for n := 2; n < 4; n++ {
		if text, err := short(); err != nil || !strings.Contains(text, fmt.Sprintf("Bearer token-%d\x01", n)) {
			t.Errorf("%q %v", text, err)
		}
	}
	named := with(settings(i.URL+"/token", ""), "sasl.oauthbearer.client.credentials.client.id", "new", "sasl.oauthbearer.client.credentials.client.secret", "names")
	if text, err := say(&clientReader{props: named})(); err != nil || !strings.Contains(text, "token-4") {
		t.Errorf("%q %v", text, err)
	}
	if user, password, _ := i.last.BasicAuth(); user != "new" || password != "names" {
		t.Errorf("%s %s", user, password)
	}
	fixed, fromFile := say(&clientReader{props: settings("", `token="fixed"`)}), say(&clientReader{props: settings("file://"+file, "")})
	if text, err := fixed(); err != nil || !strings.Contains(text, "Bearer fixed\x01") {
		t.Errorf("%q %v", text, err)
	}
	for _, want := range []string{"of-a-file", "renewed"} {
		if text, err := fromFile(); err != nil || !strings.Contains(text, "Bearer "+want+"\x01") {
			t.Errorf("%q %v", text, err)
		}
		must(t, os.WriteFile(file, []byte("renewed"), 0o600))
	}
	for path, want := range map[string]string{"/away": "sends elsewhere", "/no": "answers 403", "/empty": "no access_token"} {
		text, err := say(&clientReader{props: settings(i.URL+path, credentials)})()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "4711") || strings.Contains(err.Error(), "sec:ret") {
			t.Errorf("%s: %q %v", path, text, err)
		}
	}
	stranger := settings(i.URL+"/token", credentials)
	stranger["ssl.truststore.certificates"] = newPapers(t).trusted()
	if text, err := say(&clientReader{props: stranger})(); err == nil {
		t.Errorf("a stranger gives %q", text)
	}
}

// TestOverridesThatReachOut: who may create connectors cannot thereby have files of the
// worker's machine read, or requests sent from it, unless that is allowed by name.
func TestOverridesThatReachOut(t *testing.T) {
	l := newFakeLab(t)
	const place = "producer.override.sasl.oauthbearer.token.endpoint.url"
	config := counter("x", "name", "c", place, "file:///etc/passwd", "producer.override.ssl.keystore.location", "/etc/shadow", "producer.override.linger.ms", "1")
	w := l.start(nil)
	v, err := w.Validate(t.Context(), "", config)
	must(t, err)
	if got := faultsOf(v); len(got) != 2 || !strings.HasPrefix(got[0], place) && !strings.HasPrefix(got[1], place) {
		t.Errorf("%q", got)
	}
	w.stop()
	w = l.start(connect.Config{"connector.client.config.override.policy": "All"})
	if v, err = w.Validate(t.Context(), "", config); err != nil || v.ErrorCount != 0 {
		t.Errorf("%v %q", err, faultsOf(v))
	}
}
