package rest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
)

// store is PEM that a setting names or holds.
type store struct{ setting, file, text string }

// read returns nothing when nothing is set.
func (s store) read() ([]byte, error) {
	if s.file == "" {
		return []byte(s.text), nil
	}
	data, err := os.ReadFile(s.file)
	if err == nil && !strings.Contains(string(data), "-----BEGIN") {
		command := "openssl pkcs12 -in store.p12 -nodes -out store.pem"
		if strings.Contains(s.setting, "truststore") {
			command = "keytool -list -rfc -keystore store.jks > store.pem"
		}
		err = errors.New(s.file + " is no PEM; of a Java key store make it with: " + command)
	}
	return data, err
}

// material is where the certificates of https listeners come from.
type material struct {
	prefix           string // What the listeners' own settings begin with.
	own              bool   // They are from such.
	cert, key, trust store  // The key's is empty when the certificate's holds it as well.
	client           string // What clients are asked for: requested, required, or else nothing.
}

// Which listeners' certificates: Kafka Connect's prefixes of settings.
const (
	publicTLS = "listeners.https."
	adminTLS  = "admin.listeners.https."
)

// tlsMaterial reads Kafka Connect's settings, as PEM, and our own two for files of
// certificates as most programs write them.
func tlsMaterial(s connect.Settings, prefix string) material {
	given, from := auth.TLSSettings(s.Config(), prefix)
	take := func(file, text string) store {
		if given[text] != "" {
			return store{setting: from + text, text: given[text]}
		}
		return store{setting: from + file, file: given[file]}
	}
	m := material{
		prefix: prefix, own: from != "", trust: take("ssl.truststore.location", "ssl.truststore.certificates"),
		cert: take("ssl.keystore.location", "ssl.keystore.certificate.chain"), key: take("", "ssl.keystore.key"),
		client: strings.ToLower(strings.TrimSpace(given["ssl.client.auth"])),
	}
	if given["ssl.certificate.location"] != "" {
		m.own, m.cert, m.key = true, take("ssl.certificate.location", ""), take("ssl.key.location", "")
	}
	return m
}

func (m material) fault(setting string, cause error) error {
	return &connect.Error{
		Code: "rest.tls", Class: connect.ClassConfig, Place: setting, Message: "the certificates cannot be used", Cause: cause,
		Mend: "set " + m.prefix + "ssl.keystore.location to a PEM file with certificate and key, or ssl.certificate.location and ssl.key.location to one each",
	}
}

// pair returns the certificate with its key, nil when there is none.
func (m material) pair() (*tls.Certificate, error) {
	chain, err := m.cert.read()
	if err != nil {
		return nil, m.fault(m.cert.setting, err)
	}
	if len(chain) == 0 {
		return nil, nil
	}
	key, err := m.key.read()
	if err != nil {
		return nil, m.fault(m.key.setting, err)
	}
	if len(key) == 0 {
		key = chain
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, m.fault(m.cert.setting, err)
	}
	return &pair, nil
}

// trusted returns the authorities of the trust store, nil when there is none.
func (m material) trusted() (*x509.CertPool, error) {
	data, err := m.trust.read()
	if err != nil {
		return nil, m.trustFault(err.Error())
	}
	if len(data) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, m.trustFault("no certificate was found in the trust store")
	}
	return pool, nil
}

func (m material) trustFault(cause string) error {
	return &connect.Error{
		Code: "rest.tls", Class: connect.ClassConfig, Place: m.trust.setting, Message: "the certificates cannot be used", Cause: errors.New(cause),
		Mend: "set " + m.prefix + "ssl.truststore.location to a PEM file with the authorities of clients and of the other workers",
	}
}

// server returns what a listener serves with.
func (m material) server() (*tls.Config, error) {
	pair, err := m.pair()
	if err != nil {
		return nil, err
	}
	if pair == nil {
		return nil, m.fault(m.prefix+"ssl.keystore.location", errors.New("no certificate is set"))
	}
	config := &tls.Config{Certificates: []tls.Certificate{*pair}, MinVersion: tls.VersionTLS12}
	if config.ClientCAs, err = m.trusted(); err != nil {
		return nil, err
	}
	switch m.client {
	case "requested":
		config.ClientAuth = tls.VerifyClientCertIfGiven
	case "required":
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if config.ClientAuth != tls.NoClientCert && config.ClientCAs == nil {
		return nil, m.trustFault("certificates are asked of clients, and no trust store says whose are good")
	}
	return config, nil
}

// peer returns what a worker asks others of its group with: it trusts what the system and
// the trust store trust, and shows its own certificate.
func (m material) peer() (*tls.Config, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	data, err := m.trust.read()
	if err != nil {
		return nil, m.trustFault(err.Error())
	}
	pool.AppendCertsFromPEM(data)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	pair, err := m.pair()
	if err != nil {
		return nil, err
	}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	return config, nil
}

// stamps tells two states of the files apart.
func (m material) stamps() (all [3]string) {
	for i, file := range []string{m.cert.file, m.key.file, m.trust.file} {
		if info, err := os.Stat(file); file != "" && err == nil {
			all[i] = info.ModTime().String()
		}
	}
	return all
}

// renewed is a TLS configuration that follows its files: a certificate that is renewed is
// shown to the next client. Files that cannot be used are reported once, and what they
// held before stays in force.
type renewed struct {
	m      material
	make   func() (*tls.Config, error)
	report func(message string, err error)

	mu     sync.Mutex // Guards the following.
	config *tls.Config
	seen   [3]string
}

func newRenewed(m material, build func() (*tls.Config, error), report func(string, error)) (*renewed, error) {
	r := &renewed{m: m, make: build, report: report, seen: m.stamps()}
	var err error
	r.config, err = build()
	return r, err
}

func (r *renewed) get() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.m.stamps()
	if now == r.seen {
		return r.config
	}
	r.seen = now
	config, err := r.make()
	if err != nil {
		r.report("the certificates cannot be used, and the former ones stay in force", err)
		return r.config
	}
	r.config = config
	return config
}

// listening returns what https listeners are opened with.
func (r *renewed) listening() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.get(), nil },
	}
}

// tlsOf returns what a listener serves TLS with; where says which it is.
func (m material) tlsOf(where string, report func(string, error)) (*tls.Config, error) {
	config, err := newRenewed(m, m.server, report)
	if err != nil {
		return nil, because(err, where+" has no usable certificate")
	}
	return config.listening(), nil
}

// because returns the fault of a material with a message of what fails by it.
func because(err error, message string) error {
	var e *connect.Error
	if !errors.As(err, &e) {
		return err
	}
	told := *e
	told.Message = message
	return &told
}

// ServerTLS returns what other doors of the worker serve TLS with: the certificate of the https
// listeners. It is nil when there is none, and none is meant for listeners: where no listener
// is https, what stands in ssl.keystore. belongs to Kafka's clients. where says which door
// it is; report is told of files that become unusable.
func ServerTLS(s connect.Settings, where string, report func(message string, err error)) (*tls.Config, error) {
	m := tlsMaterial(s, publicTLS)
	meant := m.own
	for _, l := range parseListeners(s.List("listeners")) {
		meant = meant || l.tls
	}
	if !meant || m.cert.file == "" && m.cert.text == "" {
		return nil, nil
	}
	if m.client == "" || m.client == "none" {
		m.trust = store{} // That of Kafka's clients, perhaps: nobody is to be trusted by it here.
	}
	return m.tlsOf(where, report)
}

// Peers returns the client by which the workers of a group ask each other, over https with
// the certificates of the REST interface's settings, which are read when the first asks for it.
func Peers(s connect.Settings) *http.Client {
	m := tlsMaterial(s, publicTLS)
	return &http.Client{Transport: peers{sync.OnceValues(func() (*renewed, error) { return newRenewed(m, m.peer, func(string, error) {}) })}}
}

// peers sends each request with the certificates of the day. Requests to others are few,
// so that each may have a connection of its own.
type peers struct{ config func() (*renewed, error) }

// RoundTrip implements http.RoundTripper.
func (p peers) RoundTrip(r *http.Request) (*http.Response, error) {
	t := &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: headerTimeout}
	if r.URL.Scheme == "https" {
		config, err := p.config()
		if err != nil {
			if r.Body != nil {
				r.Body.Close()
			}
			return nil, because(err, "other workers cannot be asked over https")
		}
		t.TLSClientConfig = config.get().Clone()
	}
	return t.RoundTrip(r)
}
