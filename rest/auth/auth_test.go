package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tidemill/tidemill/connect"
)

// gate makes a gate from settings.
func gate(t *testing.T, raw connect.Config) (*Gate, error) {
	t.Helper()
	s, err := connect.NewConfigDef(Keys()...).OpenTo(func(string) bool { return true }).Parse(raw)
	if err != nil {
		return nil, err
	}
	return New(s, func(message string, err error) { t.Log(message, err) })
}

// write writes a file of the test with a time of its own, so that every writing is a change.
func write(t *testing.T, name, text string, at int) string {
	t.Helper()
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(t.TempDir(), name)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 1, 1, 0, 0, at, 0, time.UTC)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
	return path
}

// quick is a line of a user with a hash that is quick to check.
func quick(t *testing.T, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return name + ":" + string(hash) + "\n"
}

func asking(header string) *http.Request {
	r := httptest.NewRequest("GET", "/connectors", nil)
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	return r
}

func withPassword(name, password string) *http.Request {
	r := asking("")
	r.SetBasicAuth(name, password)
	return r
}

// check asks the gate, and wants this name, "" for a refusal.
func check(t *testing.T, g *Gate, what string, r *http.Request, want string) *Principal {
	t.Helper()
	p, err := g.Identify(r)
	switch {
	case want == "" && !errors.Is(err, ErrUnknown):
		t.Errorf("%s: %+v, %v instead of a refusal", what, p, err)
	case want != "" && (err != nil || p.Name != want):
		t.Errorf("%s: %+v, %v instead of %s", what, p, err, want)
	}
	return p
}

func TestNobodyIsAskedWithoutSettings(t *testing.T) {
	g, err := gate(t, nil)
	if err != nil || !g.Open() {
		t.Fatal(err)
	}
	if p, err := g.Identify(withPassword("whoever", "x")); err != nil || !p.MayAll(Admin) {
		t.Error(p, err)
	}
}

func TestPasswords(t *testing.T) {
	file := write(t, "users", "# who may ask\n\n"+quick(t, "ann", "one")+quick(t, "bob", "t:wo")+quick(t, "both", "hashed"), 1)
	g, err := gate(t, connect.Config{"rest.basic.auth.file": file, "rest.basic.auth.users": "cle:ar,both:clear"})
	if err != nil {
		t.Fatal(err)
	}
	check(t, g, "nothing", asking(""), "")
	check(t, g, "right", withPassword("ann", "one"), "ann")
	check(t, g, "right again", withPassword("ann", "one"), "ann")
	check(t, g, "another's", withPassword("ann", "t:wo"), "")
	check(t, g, "with a colon", withPassword("bob", "t:wo"), "bob")
	check(t, g, "unknown", withPassword("eve", "one"), "")
	check(t, g, "no password", withPassword("ann", ""), "")
	check(t, g, "in the clear", withPassword("cle", "ar"), "cle")
	check(t, g, "the file counts", withPassword("both", "hashed"), "both")
	check(t, g, "the file alone counts", withPassword("both", "clear"), "")
	check(t, g, "no base64", asking("Basic *"), "")
	check(t, g, "another scheme", asking("Digest username=ann"), "")
	// Another password, and a user who is gone, count at once.
	write(t, file, quick(t, "ann", "three"), 2)
	check(t, g, "the former password", withPassword("ann", "one"), "")
	check(t, g, "the new one", withPassword("ann", "three"), "ann")
	check(t, g, "who is gone", withPassword("bob", "t:wo"), "")
	// A file that is damaged shuts nobody out, and lets nobody in.
	write(t, file, "ann:three\n", 3)
	check(t, g, "before the damage", withPassword("ann", "three"), "ann")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check(t, g, "without the file", withPassword("ann", "three"), "ann")
}

// TestFilesThatAreRefused also sees that no error repeats what may be a password.
func TestFilesThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"clear": "ann:geheim\n", "apache": "ann:$apr1$geheim\n", "sha": "ann:{SHA}geheim\n", "no name": ":geheim\n", "nothing": "# geheim\n",
		"java": "ann=geheim\n", "group": "group=x;geheim:y\n", "twice": quick(t, "ann", "geheim") + quick(t, "ann", "geheim"),
	} {
		_, err := gate(t, connect.Config{"rest.basic.auth.file": write(t, "users", text, 1)})
		if err == nil || strings.Contains(err.Error(), "geheim") || connect.AsError(err).Mend == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, raw := range map[string]connect.Config{
		"no file":                    {"rest.basic.auth.file": "/nowhere/users"},
		"half a pair":                {"rest.basic.auth.users": "ann:geheim,geheim"},
		"no tokens":                  {"rest.token.file": write(t, "tokens", "ann:geheim\n", 1)},
		"a role there is not":        {"rest.basic.auth.users": "ann:geheim", "rest.roles": "ann=root"},
		"no role":                    {"rest.basic.auth.users": "ann:geheim", "rest.roles": "ann"},
		"roles for nobody":           {"rest.roles": "ann=admin"},
		"an extension there is not":  {"rest.basic.auth.users": "ann:geheim", "rest.extension.classes": "org.example.Ext"},
		"an extension without users": {"rest.extension.classes": "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension"},
		"certificates, perhaps":      {"ssl.client.auth": "maybe"},
		"a rule that is none":        {"ssl.client.auth": "required", "rest.ssl.principal.mapping.rules": "CN=(.*)"},
	} {
		if _, err := gate(t, raw); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGuessesTakeTime(t *testing.T) {
	g, err := gate(t, connect.Config{"rest.basic.auth.users": "ann:one,bob:two"})
	if err != nil {
		t.Fatal(err)
	}
	b := g.methods[0].(*basic)
	now := time.Now()
	b.guesses.now = func() time.Time { return now }
	check(t, g, "known before", withPassword("bob", "two"), "bob")
	for range freeGuesses {
		check(t, g, "a guess", withPassword("ann", "no"), "")
		check(t, g, "another guess", withPassword("bob", "no"), "")
	}
	if _, err := g.Identify(withPassword("ann", "one")); !errors.Is(err, ErrTooMany) {
		t.Errorf("the right one after too many: %v", err)
	}
	check(t, g, "who was known before", withPassword("bob", "two"), "bob")
	elsewhere := withPassword("ann", "one")
	elsewhere.RemoteAddr = "198.51.100.7:99"
	check(t, g, "from elsewhere", elsewhere, "ann")
	now = now.Add(guessEvery)
	check(t, g, "one guess later", withPassword("ann", "one"), "ann")
	for i := range 2 * maxGuessing {
		b.guesses.wrong(string(rune(i)))
	}
	if n := len(b.guesses.from); n > maxGuessing {
		t.Errorf("%d are remembered", n)
	}
}

func TestTokens(t *testing.T) {
	token, line, err := NewToken("deploy")
	if err != nil {
		t.Fatal(err)
	}
	other, _, _ := NewToken("deploy")
	if strings.Contains(line, token) || !strings.HasPrefix(token, tokenPrefix) || len(token) < 40 {
		t.Errorf("%s of %s", line, token)
	}
	file := write(t, "tokens", line+"\n", 1)
	g, err := gate(t, connect.Config{"rest.token.file": file})
	if err != nil {
		t.Fatal(err)
	}
	check(t, g, "right", asking("Bearer "+token), "deploy")
	check(t, g, "right, small letters", asking("bearer "+token), "deploy")
	check(t, g, "another", asking("Bearer "+other), "")
	check(t, g, "a part", asking("Bearer "+token[:20]), "")
	check(t, g, "the digest", asking("Bearer "+strings.TrimPrefix(line, "deploy:")), "")
	check(t, g, "as a password", withPassword("deploy", token), "")
	write(t, file, "deploy:"+strings.Repeat("0", 64)+"\n", 2)
	check(t, g, "withdrawn", asking("Bearer "+token), "")
	for _, name := range []string{"", "*", "group:x", "a:b", "a;b", " a", "a\nb", "#a"} {
		if _, _, err := NewToken(name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
		if _, err := HashPassword(name, "x"); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}

func TestRoles(t *testing.T) {
	all, err := parseRoles("ann=admin; bob=operator shop-,crm-\nbob=viewer; group:sre=operator;CN=x,O=y = viewer; ;")
	if err != nil {
		t.Fatal(err)
	}
	who := func(name string, groups ...string) *Principal {
		p := &Principal{Name: name, Groups: groups}
		all.grant(p)
		return p
	}
	for _, tt := range []struct {
		p         *Principal
		role      Role
		connector string
		want      bool
	}{
		{who("ann"), Admin, "x", true}, {who("ann"), Undecided, "x", true},
		{who("bob"), Operator, "shop-a", true}, {who("bob"), Operator, "crm-", true}, {who("bob"), Operator, "sho", false}, {who("bob"), Operator, "xshop-", false},
		{who("bob"), Viewer, "x", true}, {who("bob"), Admin, "shop-a", false}, {who("bob"), Undecided, "shop-a", false},
		{who("CN=x,O=y"), Viewer, "x", true}, {who("CN=x,O=y"), Operator, "x", false},
		{who("eve"), Viewer, "x", false}, {who("eve", "sre"), Operator, "x", true}, {who("eve", "group:sre"), Viewer, "x", false},
		{who("group:sre"), Viewer, "x", false}, {nil, Viewer, "x", false},
	} {
		if got := tt.p.May(tt.role, tt.connector); got != tt.want {
			t.Errorf("%+v may as %s to %s: %t", tt.p, tt.role, tt.connector, got)
		}
	}
	bob := who("bob")
	if bob.MayAll(Operator) || !bob.MaySome(Operator) || !bob.MayAll(Viewer) || bob.MaySome(Admin) || who("eve").MaySome(Viewer) {
		t.Error("the roles for all and for some are mixed up")
	}
	if p := (roles{}); true {
		one := &Principal{Name: "ann"}
		if p.grant(one); !one.MayAll(Admin) {
			t.Error("without roles, who is known may not do everything")
		}
	}
}

func TestNamesOfCertificates(t *testing.T) {
	const full = "CN=Ann.Berg,OU=ops,O=Example"
	for text, want := range map[string]string{
		"DEFAULT":                                       full,
		"RULE:^CN=([^,+]+).*$/$1/,DEFAULT":              "Ann.Berg",
		"RULE:^CN=([^,]+),OU=([^,]+).*$/$1@$2/L":        "ann.berg@ops",
		"RULE:^OU=(.*)$/$1/, RULE:^CN=(A).*$/$1x/U":     "AX",
		`RULE:^CN=(\w+)\.(\w+),.*$/$2\/$1/ , DEFAULT`:   `Berg\/Ann`,
		"RULE:CN=Ann/whoever/,RULE:^.*OU=ops.*$/$0ops/": full + "ops",
		"RULE:^CN=Bob.*$/bob/":                          "",
	} {
		rules, err := parseMapping(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := ""
		for _, r := range rules {
			if name, ok := r.apply(full); ok {
				got = name
				break
			}
		}
		if got != want {
			t.Errorf("%s gives %q instead of %q", text, got, want)
		}
	}
}
