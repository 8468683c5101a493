package rest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, next: 1}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// sign returns certificate and key for a name, as PEM one behind the other, for servers on
// 127.0.0.1 and for clients.
func (a *authority) sign(name string, until time.Time) string {
	a.t.Helper()
	a.next++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// client asks over https, with a certificate unless it is "".
func (a *authority) client(own string) *http.Client {
	a.t.Helper()
	config := &tls.Config{RootCAs: a.pool()}
	if own != "" {
		pair, err := tls.X509KeyPair([]byte(own), []byte(own))
		if err != nil {
			a.t.Fatal(err)
		}
		// It is shown also to servers that say they would not take it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	return c
}

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

// Certificates of clients say who asks.
func TestCertificatesOfClients(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	store, trust := filepath.Join(dir, "store.pem"), filepath.Join(dir, "trust.pem")
	writeFile(t, store, a.sign("server", tomorrow()))
	writeFile(t, trust, a.pem())
	raw := connect.Config{
		"listeners": "https://127.0.0.1:0", "listeners.https.ssl.keystore.location": store, "listeners.https.ssl.truststore.location": trust,
		"listeners.https.ssl.client.auth": "required", "rest.roles": "ann=admin; bob=viewer; group:x=admin",
		"ssl.keystore.location": "/nowhere/of/kafka.pem",
	}
	for _, how := range []string{"required", "requested"} {
		raw["listeners.https.ssl.client.auth"] = how
		raw["rest.basic.auth.users"] = map[string]string{"required": "", "requested": "bob:bob"}[how]
		s, stop := start(t, raw, rest.Options{})
		url := "https://" + s.Addrs()[0].String()
		for name, want := range map[string]int{"ann": 200, "bob": 200, "eve": 403, "group:x": 403} {
			if status, body := get(t, a.client(a.sign(name, tomorrow())), url+"/connectors", ""); status != want {
				t.Errorf("%s, %s: %d %s", how, name, status, body)
			}
		}
		r, err := http.NewRequest("PUT", url+"/connectors/x/config", strings.NewReader(`{"connector.class":"FileSource"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := a.client(a.sign("bob", tomorrow())).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != 403 {
			t.Errorf("%s: a viewer writes: %d", how, resp.StatusCode)
		}
		for name, own := range map[string]string{"of a stranger": stranger.sign("ann", tomorrow()), "expired": a.sign("ann", time.Now().Add(-time.Hour)), "none": ""} {
			resp, err := a.client(own).Get(url + "/connectors")
			if err == nil {
				resp.Body.Close()
			}
			asked := how == "requested" && own == "" && err == nil && resp.StatusCode == 401
			if err == nil && !asked {
				t.Errorf("%s, %s: %d", how, name, resp.StatusCode)
			}
		}
		stop()
	}
}

// A certificate that is renewed is shown to the next client; one that is damaged changes
// nothing, and neither does an authority that is withdrawn by mistake.
func TestCertificatesAreRenewed(t *testing.T) {
	a := newAuthority(t)
	store := filepath.Join(t.TempDir(), "store.pem")
	at := 0
	put := func(text string) {
		writeFile(t, store, text)
		at++
		when := time.Date(2026, 1, 1, 0, 0, at, 0, time.UTC)
		if err := os.Chtimes(store, when, when); err != nil {
			t.Fatal(err)
		}
	}
	put(a.sign("first", tomorrow()))
	s, _ := start(t, connect.Config{"listeners": "https://127.0.0.1:0", "listeners.https.ssl.keystore.location": store}, rest.Options{})
	shown := func() string {
		resp, err := a.client("").Get("https://" + s.Addrs()[0].String() + "/connectors")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	if name := shown(); name != "first" {
		t.Error(name)
	}
	put(a.sign("second", tomorrow()))
	if name := shown(); name != "second" {
		t.Error(name)
	}
	put("damaged")
	if name := shown(); name != "second" {
		t.Error(name)
	}
	put(a.sign("third", tomorrow()))
	if name := shown(); name != "third" {
		t.Error(name)
	}
}

func TestCertificatesThatAreRefused(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	store, jks := filepath.Join(dir, "store.pem"), filepath.Join(dir, "store.jks")
	writeFile(t, store, a.sign("server", tomorrow()))
	writeFile(t, jks, "\xfe\xed\xfe\xed")
	for name, tt := range map[string]struct {
		raw  connect.Config
		want string
	}{
		"nothing":         {connect.Config{}, "no certificate is set"},
		"a Java store":    {connect.Config{"ssl.keystore.location": jks}, "openssl pkcs12"},
		"nobody to trust": {connect.Config{"ssl.keystore.location": store, "ssl.client.auth": "required"}, "ssl.truststore.location"},
		"trust in none":   {connect.Config{"ssl.keystore.location": store, "ssl.client.auth": "required", "ssl.truststore.certificates": "-----BEGIN X-----"}, "no certificate was found"},
		"another's key":   {connect.Config{"ssl.keystore.certificate.chain": a.sign("a", tomorrow()), "ssl.keystore.key": a.sign("b", tomorrow())}, "private key does not match"},
		"no file":         {connect.Config{"ssl.keystore.location": filepath.Join(dir, "none")}, "no such file"},
	} {
		tt.raw["listeners"] = "https://127.0.0.1:0"
		settings, err := rest.ConfigDef().Parse(tt.raw)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rest.New(rest.Options{Settings: settings, Herder: newStandIn()})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "rest.tls") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Old versions of TLS are refused.
func TestOldTLS(t *testing.T) {
	a := newAuthority(t)
	text := a.sign("server", tomorrow())
	s, _ := start(t, connect.Config{"listeners": "https://127.0.0.1:0", "ssl.keystore.certificate.chain": text, "ssl.keystore.key": text}, rest.Options{})
	for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", s.Addrs()[0].String(), &tls.Config{RootCAs: a.pool(), MinVersion: version, MaxVersion: version})
		if err == nil {
			c.Close()
		}
		if (err == nil) != want {
			t.Errorf("%x: %v", version, err)
		}
	}
}
