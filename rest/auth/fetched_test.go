package auth

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// publisher is an issuer that publishes its keys.
type publisher struct {
	*httptest.Server
	mu    sync.Mutex // Guards the following.
	says  string
	code  int
	asked int
}

func newPublisher(t *testing.T, says string) *publisher {
	p := &publisher{says: says, code: http.StatusOK}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		if p.code == http.StatusFound {
			w.Header().Set("Location", "https://127.0.0.1:1/")
		}
		w.WriteHeader(p.code)
		w.Write([]byte(p.says))
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) publish(says string, code int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.says, p.code = says, code
}

func (p *publisher) wantAsked(t *testing.T, what string, want int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked != want {
		t.Errorf("%s: asked %d times, not %d", what, p.asked, want)
	}
}

func (p *publisher) trust(t *testing.T) string {
	return write(t, "issuer.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})), 1)
}

// keysOf returns the ring of a gate that takes signed tokens alone.
func keysOf(t *testing.T, g *Gate) *fetched {
	t.Helper()
	for _, m := range g.methods {
		if s, ok := m.(signed); ok {
			return s.keys.(*fetched)
		}
	}
	t.Fatal("nothing is fetched")
	return nil
}

// TestKeysAreFetched follows an issuer that is away at first, changes its keys, and fails.
func TestKeysAreFetched(t *testing.T) {
	first, second := newIssuer(t), newIssuer(t)
	p := newPublisher(t, "")
	p.publish("not yet", http.StatusServiceUnavailable)
	g, err := gate(t, jwtSettings(p.URL+"/keys", "rest.jwt.keys.truststore.location", p.trust(t)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	keysOf(t, g).now = func() time.Time { return now }
	later := func(d time.Duration) { now = now.Add(d) }
	ask := func(what string, i *issuer, algorithm, want string) {
		t.Helper()
		token := i.token(t, map[string]any{"alg": algorithm}, map[string]any{"sub": "ann", "iss": "https://id.example", "aud": "tidemill", "exp": time.Now().Add(time.Hour).Unix()})
		check(t, g, what, asking("Bearer "+token), want)
	}
	ask("nothing is published", first, "RS256", "")
	p.publish(first.document(), http.StatusOK)
	ask("asked again at once", first, "RS256", "")
	p.wantAsked(t, "at once", 1)
	later(fetchPause)
	ask("published", first, "RS256", "ann")
	ask("another key", first, "EdDSA", "ann")
	p.wantAsked(t, "keys that are there", 2)
	ask("a stranger's, too early", second, "RS256", "")
	p.wantAsked(t, "a stranger's, too early", 2)
	p.publish(second.document(), http.StatusOK)
	later(fetchPause)
	ask("new keys", second, "RS256", "ann")
	ask("old ones", first, "RS256", "")
	p.wantAsked(t, "new keys", 3)
	for what, publish := range map[string]func(){
		"failing":     func() { p.publish("", http.StatusInternalServerError) },
		"of no use":   func() { p.publish(`{"keys":[]}`, http.StatusOK) },
		"elsewhere":   func() { p.publish(first.document(), http.StatusFound) },
		"not allowed": func() { p.publish("x", http.StatusOK) },
	} {
		publish()
		later(time.Hour)
		ask(what, second, "RS256", "ann")
		ask(what, first, "RS256", "")
	}
	p.wantAsked(t, "each failure", 7)
	p.publish(first.document(), http.StatusOK)
	later(time.Hour)
	ask("taken back after an hour", second, "RS256", "")
}

// TestSecretsAreNotFetched: what everybody can fetch signs nothing.
func TestSecretsAreNotFetched(t *testing.T) {
	i := newIssuer(t)
	p := newPublisher(t, i.document())
	g, err := gate(t, jwtSettings(p.URL, "rest.jwt.keys.truststore.location", p.trust(t), "rest.jwt.algorithms", "HS256,RS256"))
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"sub": "ann", "iss": "https://id.example", "aud": "tidemill", "exp": time.Now().Add(time.Hour).Unix()}
	check(t, g, "a secret", asking("Bearer "+i.token(t, map[string]any{"alg": "HS256", "kid": "s"}, claims)), "")
	check(t, g, "a key", asking("Bearer "+i.token(t, map[string]any{"alg": "RS256", "kid": "r"}, claims)), "ann")
}

func TestAddressesOfKeys(t *testing.T) {
	p := newPublisher(t, "")
	for what, tt := range map[string]struct{ location, trust, want string }{
		"in the clear":      {"http://id.example/keys", "", "https"},
		"a password in it":  {"https://u:geheim@id.example/keys", "", "of no use"},
		"no host":           {"https:///keys", "", "of no use"},
		"trust in nothing":  {p.URL, write(t, "none.pem", "x", 1), "no certificate"},
		"trust that is not": {p.URL, "/nowhere", "/nowhere"},
	} {
		_, err := gate(t, jwtSettings(tt.location, "rest.jwt.keys.truststore.location", tt.trust))
		if err == nil || connect.AsError(err).Place != "rest.jwt.keys.location" || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.publish(newIssuer(t).document(), http.StatusOK)
	g, err := gate(t, jwtSettings(p.URL))
	if err != nil {
		t.Fatal(err)
	}
	if keys := keysOf(t, g).get(); keys != nil {
		t.Errorf("keys of somebody whom the system does not trust: %v", keys)
	}
}
