package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"github.com/tidemill/tidemill/connect"
)

// Method recognizes one kind of credentials. It is called from any number of goroutines.
type Method interface {
	// Name is short; it is what the log says of how somebody was recognized.
	Name() string
	// Identify returns who sends a request, nil when it has no credentials of this kind,
	// and an error when it has some that are not right, or [ErrTooMany]. The error is for
	// the log: it holds no secret.
	Identify(r *http.Request) (*Principal, error)
	// Challenge is the value of the header WWW-Authenticate, "" for none.
	Challenge() string
}

// Gate finds out who asks. It is safe for concurrent use.
type Gate struct {
	methods []Method
	roles   roles
}

// The errors of Identify.
var (
	// ErrUnknown: the request does not show who sends it.
	ErrUnknown = errors.New("the request does not show who sends it")
	// ErrTooMany: too many wrong credentials came from there.
	ErrTooMany = errors.New("too many wrong credentials came from there")
)

// New returns a gate with the methods that the settings, parsed with [Keys], ask for. The
// error lists all faults.
func New(s connect.Settings, report func(message string, err error)) (*Gate, error) {
	g := &Gate{}
	var faults connect.Errors
	for _, build := range methods() {
		m, err := build(s, report)
		if err != nil {
			faults = append(faults, connect.AsError(err))
		} else if m != nil {
			g.methods = append(g.methods, m)
		}
	}
	var err error
	if g.roles, err = parseRoles(s.String("rest.roles")); err != nil {
		faults = append(faults, connect.ConfigError("rest.roles", "%s", err))
	}
	if len(g.roles) > 0 && len(g.methods) == 0 && len(faults) == 0 {
		e := connect.ConfigError("rest.roles", "there are roles, and nobody is asked who they are")
		e.Mend = "set rest.basic.auth.file, rest.token.file, rest.jwt.keys.location or ssl.client.auth=required"
		faults = append(faults, e)
	}
	if err := checkExtensions(s, len(g.methods) > 0); err != nil {
		faults = append(faults, err)
	}
	return g, faults.OrNil()
}

// Open tells whether nobody is asked.
func (g *Gate) Open() bool { return len(g.methods) == 0 }

// Secrets tells whether what is shown could be read on the way: passwords and tokens, not
// certificates.
func (g *Gate) Secrets() bool {
	for _, m := range g.methods {
		if m.Challenge() != "" {
			return true
		}
	}
	return false
}

// Identify returns who sends a request, or an error that is [ErrUnknown] or [ErrTooMany].
func (g *Gate) Identify(r *http.Request) (*Principal, error) {
	if g.Open() {
		return Anybody(), nil
	}
	var wrong error
	for _, m := range g.methods {
		p, err := m.Identify(r)
		if errors.Is(err, ErrTooMany) {
			return nil, err
		}
		if p == nil {
			// What this method finds wrong, another may understand.
			wrong = errors.Join(wrong, err)
			continue
		}
		p.Method = m.Name()
		g.roles.grant(p)
		return p, nil
	}
	return nil, errors.Join(ErrUnknown, wrong)
}

// Login is what somebody shows who does not speak HTTP: a name and a password, or, over TLS,
// a certificate.
type Login struct {
	From           string // host:port
	Name, Password string
	TLS            *tls.ConnectionState // nil: none.
}

// Login returns who shows what is in l, or an error that is [ErrUnknown] or [ErrTooMany].
func (g *Gate) Login(ctx context.Context, l Login) (*Principal, error) {
	r := (&http.Request{Header: http.Header{}, RemoteAddr: l.From, TLS: l.TLS}).WithContext(ctx)
	if l.Password != "" {
		r.SetBasicAuth(l.Name, l.Password)
	}
	return g.Identify(r)
}

// Loopback tells whether only this machine can reach an address, which is host:port.
func Loopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Known gives somebody whom another worker vouches for their roles.
func (g *Gate) Known(name string, groups []string, method string) *Principal {
	p := &Principal{Name: name, Groups: groups, Method: method}
	g.roles.grant(p)
	return p
}

// Challenges are the values of the header WWW-Authenticate.
func (g *Gate) Challenges() (all []string) {
	for _, m := range g.methods {
		if c := m.Challenge(); c != "" {
			all = append(all, c)
		}
	}
	return all
}
