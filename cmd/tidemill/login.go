package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
)

// login adds to each request who sends it, and speaks TLS as it was told.
type login struct {
	user, password, token string
	next                  http.RoundTripper
	fault                 error
}

// loginFrom returns a client with what the variables TIDEMILL_LOGIN_USER, _PASSWORD, _TOKEN,
// _CA, _CERT and _KEY say; the last three are PEM files.
func loginFrom(getenv func(string) string) *http.Client {
	get := func(name string) string { return getenv("TIDEMILL_LOGIN_" + name) }
	l := login{user: get("USER"), password: get("PASSWORD"), token: get("TOKEN")}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := get("CA"); file != "" {
		pem, err := os.ReadFile(file)
		config.RootCAs = x509.NewCertPool()
		if err == nil && !config.RootCAs.AppendCertsFromPEM(pem) {
			err = errors.New(file + " holds no certificate")
		}
		l.fault = err
	}
	if cert := get("CERT"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, get("KEY"))
		config.Certificates = []tls.Certificate{pair}
		l.fault = errors.Join(l.fault, err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	l.next = transport
	// What shows who somebody is is for this worker, and for none that an answer names.
	return &http.Client{Transport: l, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// RoundTrip implements http.RoundTripper.
func (l login) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.fault != nil {
		return nil, l.fault
	}
	if l.token != "" || l.user != "" {
		r = r.Clone(r.Context())
	}
	switch {
	case l.token != "":
		r.Header.Set("Authorization", "Bearer "+l.token)
	case l.user != "":
		r.SetBasicAuth(l.user, l.password)
	}
	return l.next.RoundTrip(r)
}
