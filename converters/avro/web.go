package avro

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riferrei/srclient"

	"github.com/tidemill/tidemill/connect"
)

const codeNotFound = "registry.not_found"

// web is a registry reached over HTTP, with Confluent's interface. The requests are
// made by srclient, without its caches; what it does not do is done here, in the
// transport: contexts, credentials, bounds, several addresses, and telling failures
// apart.
type web struct {
	addresses []address
	good      atomic.Int32 // The address that answered last.
	base      *http.Transport
	timeout   time.Duration
}

func (w *web) close() { w.base.CloseIdleConnections() }

// address is where a registry is, and what to show it.
type address struct {
	url           string
	host          string
	authorization string
}

func newWeb(s connect.Settings, dial Dial) (*web, error) {
	secured, err := tlsConfig(s)
	if err != nil {
		return nil, err
	}
	if dial == nil {
		dialer := &net.Dialer{Timeout: s.Duration("http.connect.timeout.ms")}
		dial = dialer.DialContext
	}
	w := &web{
		base: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dial, TLSClientConfig: secured,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		},
		timeout: s.Duration("http.read.timeout.ms"),
	}
	for _, text := range s.List("schema.registry.url") {
		a, err := newAddress(text, s)
		if err != nil {
			return nil, err
		}
		w.addresses = append(w.addresses, a)
	}
	if len(w.addresses) == 0 {
		return nil, connect.ConfigError("schema.registry.url", "there is no URL")
	}
	return w, nil
}

func newAddress(text string, s connect.Settings) (address, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// The URL may hold a password and is not repeated.
		return address{}, connect.ConfigError("schema.registry.url", "one of the URLs does not have the form http://host:port")
	}
	a := address{host: u.Host}
	user := ""
	if strings.EqualFold(s.String("basic.auth.credentials.source"), "USER_INFO") {
		user = s.String("basic.auth.user.info")
	} else if u.User != nil {
		password, _ := u.User.Password()
		user = u.User.Username() + ":" + password
	}
	if user != "" {
		a.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(user))
	}
	if token := s.String("bearer.auth.token"); token != "" {
		a.authorization = "Bearer " + token
	}
	u.User = nil
	a.url = strings.TrimSuffix(u.String(), "/")
	return a, nil
}

// tlsConfig reads the certificates that the settings name.
func tlsConfig(s connect.Settings) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	const prefix = "schema.registry.ssl."
	trusted, err := pemText(s, prefix+"truststore.certificates", prefix+"truststore.location")
	if err != nil {
		return nil, err
	}
	if trusted != nil {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(trusted) {
			return nil, connect.ConfigError(prefix+"truststore.location", "there is no certificate in PEM form in it")
		}
	}
	chain, err := pemText(s, prefix+"keystore.certificate.chain", prefix+"keystore.location")
	if err != nil {
		return nil, err
	}
	if chain != nil {
		key := []byte(s.String(prefix + "keystore.key"))
		if len(key) == 0 {
			key = chain
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return nil, connect.ConfigError(prefix+"keystore.location", "there is no certificate with its unencrypted key in PEM form in it")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if s.Given(prefix+"endpoint.identification.algorithm") && s.String(prefix+"endpoint.identification.algorithm") == "" {
		verifyChainOnly(c)
	}
	return c, nil
}

// verifyChainOnly checks the registry's certificate, but not that it names the host.
func verifyChainOnly(c *tls.Config) {
	c.InsecureSkipVerify = true // The chain is verified below.
	roots := c.RootCAs
	c.VerifyConnection = func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, cert := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
}

// pemText returns what one setting holds, or the file another names.
func pemText(s connect.Settings, inline, file string) ([]byte, error) {
	if text := s.String(inline); text != "" {
		return []byte(text), nil
	}
	if path := s.String(file); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, connect.ConfigError(file, "the file cannot be read: %v", err)
		}
		return b, nil
	}
	return nil, nil
}

// Register implements [Registry].
func (w *web) Register(ctx context.Context, subject, schema string) (id int, err error) {
	err = w.ask(ctx, subject, func(c *srclient.SchemaRegistryClient) error {
		s, err := c.CreateSchema(subject, schema, srclient.Avro)
		if err == nil {
			id = s.ID()
		}
		return err
	})
	return id, err
}

// Lookup implements [Registry].
func (w *web) Lookup(ctx context.Context, subject, schema string) (id int, err error) {
	err = w.ask(ctx, subject, func(c *srclient.SchemaRegistryClient) error {
		s, err := c.LookupSchema(subject, schema, srclient.Avro)
		if err == nil {
			id = s.ID()
		}
		return err
	})
	return id, err
}

// Version implements [Registry].
func (w *web) Version(ctx context.Context, subject string, version int) (stored Stored, err error) {
	err = w.ask(ctx, subject, func(c *srclient.SchemaRegistryClient) error {
		get := func() (*srclient.Schema, error) { return c.GetLatestSchema(subject) }
		if version > 0 {
			get = func() (*srclient.Schema, error) { return c.GetSchemaByVersion(subject, version) }
		}
		s, err := get()
		if err == nil {
			stored = storedOf(s)
		}
		return err
	})
	return stored, err
}

// ByID implements [Registry].
func (w *web) ByID(ctx context.Context, id int) (stored Stored, err error) {
	err = w.ask(ctx, "schema id "+strconv.Itoa(id), func(c *srclient.SchemaRegistryClient) error {
		s, err := c.GetSchema(id)
		if err == nil {
			stored = storedOf(s)
		}
		return err
	})
	return stored, err
}

func storedOf(s *srclient.Schema) Stored {
	stored := Stored{ID: s.ID(), Schema: s.Schema()}
	if s.SchemaType() != nil {
		stored.Type = string(*s.SchemaType())
	}
	for _, r := range s.References() {
		stored.References = append(stored.References, Reference{r.Subject, r.Version})
	}
	return stored
}

// ask makes one request, to the next address if one does not answer.
func (w *web) ask(ctx context.Context, place string, request func(*srclient.SchemaRegistryClient) error) error {
	var err error
	first := int(w.good.Load())
	for i := range w.addresses {
		at := (first + i) % len(w.addresses)
		a := &w.addresses[at]
		x := &exchange{ctx: ctx, address: a, base: w.base}
		client := srclient.NewSchemaRegistryClient(a.url, srclient.WithClient(&http.Client{
			Transport: x, Timeout: w.timeout, CheckRedirect: sameHost,
		}))
		client.CachingEnabled(false)
		if err = x.classify(place, request(client)); connect.AsError(err) == nil || connect.AsError(err).Class != connect.ClassRetriable || ctx.Err() != nil {
			w.good.Store(int32(at))
			return err
		}
	}
	return err
}

var errRedirect = errors.New("the registry sends to another host, and credentials are not shown to it")

// sameHost follows redirects on one host only.
func sameHost(req *http.Request, via []*http.Request) error {
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme || len(via) > 5 {
		return errRedirect
	}
	return nil
}

// exchange carries one request and remembers how it ended.
type exchange struct {
	ctx     context.Context
	address *address
	base    http.RoundTripper
	status  int
	after   time.Duration
	body    strings.Builder // Of a failure.
}

const (
	// maxAnswer bounds what a registry may answer, in bytes; maxFailure what it may
	// say of a failure, which repeats the old schema; maxComplaint what of that is
	// passed on.
	maxAnswer    = maxSchemaBytes * 2
	maxFailure   = 1 << 20
	maxComplaint = 1000
)

// RoundTrip implements http.RoundTripper.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(x.ctx)
	if x.address.authorization != "" && req.URL.Host == x.address.host {
		req.Header.Set("Authorization", x.address.authorization)
	}
	req.Header.Set("Accept", "application/vnd.schemaregistry.v1+json, application/json")
	resp, err := x.base.RoundTrip(req)
	if err != nil {
		x.status = 0
		return nil, err
	}
	x.status = resp.StatusCode
	var body io.Reader = io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode >= 300 {
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			x.after = time.Duration(min(s, 3600)) * time.Second
		}
		x.body.Reset()
		body = io.TeeReader(io.LimitReader(resp.Body, maxFailure), &x.body)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return resp, nil
}

// classify says what a failed request means and what to do about it.
func (x *exchange) classify(place string, err error) error {
	if err == nil {
		return nil
	}
	e := &connect.Error{Class: connect.ClassFatal, Place: place, Message: x.complaint(err)}
	switch {
	case x.ctx.Err() != nil:
		return canceled(x.ctx)
	case x.status == 409:
		e.Code = "registry.incompatible"
		e.Mend = "make the change compatible (a new column needs a default or to be nullable), or set the subject's compatibility to what the change needs: PUT /config/" + url.PathEscape(place)
	case x.status == 401 || x.status == 403:
		e.Code, e.Mend = "registry.denied", "check basic.auth.credentials.source and basic.auth.user.info, and the rights of that user in the registry"
	case x.status == 404:
		e.Code, e.Mend = codeNotFound, "register the schema first, or set auto.register.schemas=true; check that schema.registry.url is the right registry"
	case x.status == 422 || x.status == 400:
		e.Code, e.Mend = "registry.rejected", "look at the schema; names may need scrub.invalid.names=true"
	case errors.Is(err, errRedirect):
		e.Code, e.Mend = "registry.redirect", "set schema.registry.url to where the registry is"
	case x.status >= 200 && x.status < 300 || x.status == 0 || x.status == 429 || x.status >= 500:
		e.Code, e.Class, e.After = "registry.unavailable", connect.ClassRetriable, x.after
		e.Mend = "look whether the registry at " + x.address.url + " is running"
	default:
		e.Code, e.Mend = "registry.failed", "check that "+x.address.url+" is a schema registry"
	}
	return e
}

// complaint is what the registry said, or else what happened.
func (x *exchange) complaint(err error) string {
	var said struct {
		Message string `json:"message"`
	}
	if x.status >= 300 && json.Unmarshal([]byte(x.body.String()), &said) == nil && said.Message != "" {
		if len(said.Message) > maxComplaint {
			return strings.ToValidUTF8(said.Message[:maxComplaint], "") + "…"
		}
		return said.Message
	}
	if x.status >= 300 {
		return fmt.Sprintf("the registry answered %d %s", x.status, http.StatusText(x.status))
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // Without the URL of the request.
	}
	return err.Error()
}
