package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keyring is where the keys of signed tokens come from.
type keyring interface {
	// get returns the keys there are.
	get() []jose.JSONWebKey
	// renewed looks whether the issuer has other keys by now, and tells whether it may have.
	renewed() bool
}

// keyFile is a file of keys, which get looks at each time.
type keyFile struct {
	*watched[[]jose.JSONWebKey]
}

func (keyFile) renewed() bool { return false }

// How long an issuer may take to answer, and how long it is left alone after it was asked:
// tokens with unknown keys, which anybody can write, make the worker ask no more often.
const (
	fetchTimeout = 5 * time.Second
	fetchPause   = 10 * time.Second
)

// fetched are the keys that an issuer publishes (its jwks_uri, OpenID Connect Discovery 1.0,
// section 3). They are asked for again when they are old, and when a token has a key that
// is not among them. While that fails, those that there were stay in force.
type fetched struct {
	address string
	refresh time.Duration
	http    *http.Client
	report  func(message string, err error)
	now     func() time.Time

	asking sync.Mutex // Held by whoever asks the issuer.
	asked  time.Time  // The last time, and guarded by asking.

	mu    sync.Mutex // Guards the following.
	keys  []jose.JSONWebKey
	since time.Time
}

// fetch prepares to ask an address, whose certificate is signed by an authority of the
// system or, if trust names a file, by one of those in it.
func fetch(address, trust string, refresh time.Duration, report func(string, error)) (*fetched, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("it is of no use as an address")
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if trust != "" {
		text, err := os.ReadFile(trust)
		if err != nil {
			return nil, err
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", trust)
		}
	}
	return &fetched{address: address, refresh: refresh, report: report, now: time.Now, http: &http.Client{
		Timeout:   fetchTimeout,
		Transport: &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the issuer of tokens sends elsewhere")
		},
	}}, nil
}

func (f *fetched) get() []jose.JSONWebKey {
	keys, since := f.have()
	if f.now().Sub(since) < f.refresh || !f.renewed() {
		return keys
	}
	keys, _ = f.have()
	return keys
}

func (f *fetched) have() ([]jose.JSONWebKey, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys, f.since
}

func (f *fetched) renewed() bool {
	if !f.asking.TryLock() {
		return false
	}
	defer f.asking.Unlock()
	now := f.now()
	if now.Sub(f.asked) < fetchPause {
		return false
	}
	f.asked = now
	keys, err := f.ask()
	if err != nil {
		if f.report != nil {
			f.report("the keys of signed tokens cannot be fetched from "+f.address+", and those there are stay in force", err)
		}
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys, f.since = keys, now
	return true
}

// ask returns the keys that are published now. A secret that is published is none, and so
// no key.
func (f *fetched) ask() ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.address, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := f.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %d", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFileBytes))
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(keys, func(k jose.JSONWebKey) bool {
		_, secret := k.Key.([]byte)
		return secret
	}), nil
}
