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

// material is where the certificates of https listeners come from.
type material struct {
	cert, key, trust             string // Files; key is "" when cert holds it as well.
	certText, keyText, trustText string // The same, given inline.
	client                       string // none, requested or required.
}

// tlsMaterial reads Kafka Connect's settings, as PEM, and our own two for files of
// certificates as most programs write them.
func tlsMaterial(s connect.Settings) material {
	given := auth.TLSSettings(s.Config())
	m := material{
		cert: given["ssl.keystore.location"], certText: given["ssl.keystore.certificate.chain"], keyText: given["ssl.keystore.key"],
		trust: given["ssl.truststore.location"], trustText: given["ssl.truststore.certificates"], client: auth.ClientCertificates(s),
	}
	if given["ssl.certificate.location"] != "" {
		m.cert, m.key = given["ssl.certificate.location"], given["ssl.key.location"]
	}
	return m
}

func read(file, text string) ([]byte, error) {
	if text != "" || file == "" {
		return []byte(text), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(data), "-----BEGIN") {
		return nil, errors.New(file + " is no PEM; of a Java key store make it with: openssl pkcs12 -in store.p12 -nodes -out store.pem")
	}
	return data, nil
}

// pair returns the certificate with its key, nil when there is none.
func (m material) pair() (*tls.Certificate, error) {
	chain, err := read(m.cert, m.certText)
	if err != nil || len(chain) == 0 {
		return nil, err
	}
	key := chain
	if m.key != "" || m.keyText != "" {
		if key, err = read(m.key, m.keyText); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(chain, key)
	return &pair, err
}

// trusted returns the authorities of the trust store, nil when there is none.
func (m material) trusted() (*x509.CertPool, error) {
	data, err := read(m.trust, m.trustText)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New("no certificate was found in the trust store")
	}
	return pool, nil
}

// server returns what a listener serves with.
func (m material) server() (*tls.Config, error) {
	pair, err := m.pair()
	if err != nil {
		return nil, err
	}
	if pair == nil {
		return nil, errors.New("no certificate is set")
	}
	config := &tls.Config{Certificates: []tls.Certificate{*pair}, MinVersion: tls.VersionTLS12}
	if config.ClientCAs, err = m.trusted(); err != nil {
		return nil, err
	}
	if m.client != "none" && config.ClientCAs == nil {
		return nil, errors.New("certificates are asked of clients, and no trust store says whose are good: set ssl.truststore.location")
	}
	switch m.client {
	case "requested":
		config.ClientAuth = tls.VerifyClientCertIfGiven
	case "required":
		config.ClientAuth = tls.RequireAndVerifyClientCert
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
	data, err := read(m.trust, m.trustText)
	if err != nil {
		return nil, err
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
	for i, file := range []string{m.cert, m.key, m.trust} {
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

// Peers returns the client by which the workers of a group ask each other, over https with
// the certificates of the REST interface's settings.
func Peers(s connect.Settings) (*http.Client, error) {
	m := tlsMaterial(s)
	config, err := newRenewed(m, m.peer, func(string, error) {})
	if err != nil {
		return nil, tlsError("ssl.truststore.location", "the certificates for requests to other workers cannot be used", err)
	}
	// Requests to others are few, so that each may have a connection of its own and thereby
	// the certificates of the day.
	return &http.Client{Transport: peers{config}}, nil
}

// ServerTLS returns what other doors of the worker serve TLS with: the certificate of the https
// listeners, nil when none is set. report is told of files that become unusable.
func ServerTLS(s connect.Settings, report func(message string, err error)) (*tls.Config, error) {
	m := tlsMaterial(s)
	if m.cert == "" && m.certText == "" {
		return nil, nil
	}
	config, err := newRenewed(m, m.server, report)
	if err != nil {
		return nil, tlsError("ssl.certificate.location", "the certificate cannot be used", err)
	}
	return config.listening(), nil
}

// peers sends each request with the certificates of the day.
type peers struct{ config *renewed }

// RoundTrip implements http.RoundTripper.
func (p peers) RoundTrip(r *http.Request) (*http.Response, error) {
	t := &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: headerTimeout, TLSClientConfig: p.config.get().Clone()}
	return t.RoundTrip(r)
}

func tlsError(place, message string, cause error) error {
	return &connect.Error{
		Code: "rest.tls", Class: connect.ClassConfig, Place: place, Message: message, Cause: cause,
		Mend: "set ssl.certificate.location and ssl.key.location to PEM files, or listeners.https.ssl.keystore.location to one that holds both",
	}
}
