package rest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/rest/auth"
)

// everything are options with which a server has all its routes.
func everything() rest.Options {
	return rest.Options{Metrics: rest.AnyHandler, UI: rest.AnyHandler, SQL: &sqlStandIn{}, Streams: rest.AnyHandler}
}

// people are those of these tests, with their roles; each one's password is the name.
var people = connect.Config{
	"rest.basic.auth.users": "val:val,opa:opa,ada:ada,shopper:shopper,looker:looker,nil:nil",
	"rest.roles":            "val=viewer; opa=operator; ada=admin; shopper=admin shop-; looker=viewer shop-",
}

// ask sends a request as somebody, "" for nobody, and returns status and body.
func ask(t *testing.T, method, url, who, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if who != "" {
		r.SetBasicAuth(who, who)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// Every route has a role, and somebody has thought about who may use it.
func TestEveryRouteHasARole(t *testing.T) {
	routes := rest.Routes(everything())
	if len(routes) < 44 {
		t.Fatalf("only %d routes", len(routes))
	}
	for _, route := range routes {
		reads := route.Method == http.MethodGet
		switch {
		case route.Role == auth.Undecided:
			t.Errorf("%s %s has no role: say in routes.go who may use it", route.Method, route.Path)
		case reads && (strings.HasSuffix(route.Path, "/dlq/{partition}/{offset}") || strings.HasSuffix(route.Path, "/peek")):
			// They show the contents of records, which those who only look do not see elsewhere.
			if route.Role != auth.Operator {
				t.Errorf("%s %s shows contents, and is for %s", route.Method, route.Path, route.Role)
			}
		case reads && route.Role != auth.Viewer:
			t.Errorf("%s %s reads, and is for %s", route.Method, route.Path, route.Role)
		case !reads && route.Role == auth.Viewer && !strings.Contains(route.Path, "query"):
			t.Errorf("%s %s changes something, and is for viewers", route.Method, route.Path)
		}
	}
}

// TestRolesOnEveryRoute asks every route as everybody. What each may do follows from the
// table of routes alone.
func TestRolesOnEveryRoute(t *testing.T) {
	base := serve(t, people, func(given *rest.Options) {
		o := everything()
		given.Metrics, given.UI, given.SQL, given.Streams = o.Metrics, o.UI, o.SQL, o.Streams
	})
	roles := map[string]auth.Role{"val": auth.Viewer, "opa": auth.Operator, "ada": auth.Admin, "shopper": auth.Admin, "looker": auth.Viewer, "nil": auth.Undecided}
	limited := map[string]bool{"shopper": true, "looker": true}
	asked := 0
	for _, route := range rest.Routes(everything()) {
		for _, connector := range []string{"shop-a", "crm"} {
			path := route.Concrete(connector)
			if status, text := ask(t, route.Method, base+path, "", ""); route.Role != auth.Worker && status != http.StatusUnauthorized {
				t.Errorf("%s %s as nobody: %d %s", route.Method, path, status, text)
			}
			for who, role := range roles {
				may := role >= route.Role
				if limited[who] {
					ofOne := strings.HasPrefix(route.Path, "/connectors/{name}")
					may = may && !route.Whole && (!ofOne || connector == "shop-a")
				}
				may = may || route.Role == auth.Worker
				status, text := ask(t, route.Method, base+path, who, "")
				refused := status == http.StatusForbidden && strings.Contains(text, "This needs the role") || status == http.StatusUnauthorized
				if refused == may {
					t.Errorf("%s %s as %s: %d %s", route.Method, path, who, status, text)
				}
				asked++
			}
		}
	}
	if asked < 500 {
		t.Errorf("only %d requests", asked)
	}
}

// What workers ask of each other is not let in by a name, but by a signature alone.
func TestInternalRoutesAskForSignatures(t *testing.T) {
	base := serve(t, people, nil)
	for _, who := range []string{"", "val", "ada"} {
		for _, route := range [][2]string{{"POST", "/connectors/a/tasks"}, {"PUT", "/connectors/a/fence"}, {"POST", "/connectors/a/tasks/"}} {
			if status, text := ask(t, route[0], base+route[1], who, "[]"); status != http.StatusBadRequest || !strings.Contains(text, "missing required signature") {
				t.Errorf("%v as %q: %d %s", route, who, status, text)
			}
		}
		// What only looks like one is asked like everything else.
		for _, route := range [][2]string{{"GET", "/connectors/a/fence"}, {"PUT", "/connectors/a/fence/x"}, {"POST", "/connectors//tasks"}, {"POST", "/connectors/a/tasks/0/restart"}} {
			if status, text := ask(t, route[0], base+route[1], "", ""); status != http.StatusUnauthorized {
				t.Errorf("%v as nobody: %d %s", route, status, text)
			}
		}
	}
}

// A role for some connectors is one for no others, wherever a connector is named.
func TestPrefixes(t *testing.T) {
	h := newStandIn()
	h.all["shop-a"] = connect.Config{"connector.class": "FileSource", "name": "shop-a", "pin": "1234"}
	h.all["crm"] = connect.Config{"connector.class": "FileSource", "name": "crm", "pin": "5678"}
	base := serve(t, people, func(o *rest.Options) { o.Herder = h })
	for _, path := range []string{"/connectors", "/connectors?expand=status&expand=info", "/"} {
		for who, sees := range map[string]bool{"val": true, "shopper": false, "looker": false} {
			r, err := http.NewRequest("GET", base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth(who, who)
			r.Header.Set("Accept", "text/html")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !strings.Contains(string(text), "shop-a") || strings.Contains(string(text), "crm") != sees {
				t.Errorf("%s as %s: %s", path, who, text)
			}
		}
	}
	create := `{"name":"%s","config":{"connector.class":"FileSource"}}`
	for _, tt := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/connectors", fmt.Sprintf(create, "shop-b"), 201},
		{"POST", "/connectors", fmt.Sprintf(create, "crm-b"), 403},
		{"POST", "/connectors", fmt.Sprintf(create, "crm"), 403},
		{"PUT", "/connectors/crm-b/config", `{"connector.class":"FileSource"}`, 403},
		{"PUT", "/connectors/shop-a%2F..%2Fcrm/config", `{"connector.class":"FileSource"}`, 201}, // A name like another, that is all.
		{"PUT", "/connectors/shop-a/../crm/config", `{"connector.class":"FileSource"}`, 404},
		{"PUT", "/connector-plugins/FileSource/config/validate", `{"connector.class":"FileSource","name":"shop-x"}`, 200},
		{"PUT", "/connector-plugins/FileSource/config/validate", `{"connector.class":"FileSource","name":"crm","pin":"********"}`, 403},
		{"GET", "/connectors/missing/status", "", 403},
		{"GET", "/connectors/shop-missing/status", "", 404},
	} {
		if status, text := ask(t, tt.method, base+tt.path, "shopper", tt.body); status != tt.want {
			t.Errorf("%s %s: %d %s instead of %d", tt.method, tt.path, status, text, tt.want)
		}
	}
	if h.validated["pin"] == "5678" {
		t.Error("the secret of another's connector was tried out")
	}
}

// Without masking, configurations are shown as they are to those alone who may write them.
func TestUnmaskedForWriters(t *testing.T) {
	h := newStandIn()
	h.all["shop-a"] = connect.Config{"connector.class": "FileSource", "name": "shop-a", "pin": "pin-1234"}
	raw := connect.Config{"rest.mask.secrets": "false"}
	for key, text := range people {
		raw[key] = text
	}
	base := serve(t, raw, func(o *rest.Options) { o.Herder = h })
	for who, sees := range map[string]bool{"val": false, "opa": false, "ada": true, "shopper": true, "looker": false} {
		for _, path := range []string{"/connectors/shop-a", "/connectors/shop-a/config", "/connectors/shop-a/tasks", "/connectors/shop-a/tasks-config", "/connectors?expand=info"} {
			if status, text := ask(t, "GET", base+path, who, ""); status != 200 || strings.Contains(text, "pin-1234") != sees {
				t.Errorf("%s as %s: %d %s", path, who, status, text)
			}
		}
	}
}

func TestOpenPaths(t *testing.T) {
	raw := connect.Config{"rest.basic.auth.users": "a:a", "rest.open.paths": "/health,/metrics"}
	base := serve(t, raw, func(o *rest.Options) { o.Metrics = rest.AnyHandler })
	for path, want := range map[string]int{"/health": 200, "/metrics": 404, "/connectors": 401, "/health/x": 401, "/metricsx": 401} {
		if status, _ := ask(t, "GET", base+path, "", ""); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := ask(t, "POST", base+"/health", "", "{}"); status != 401 {
		t.Errorf("POST: %d", status)
	}
	if _, err := rest.ConfigDef().Parse(connect.Config{"rest.open.paths": "/connectors"}); err == nil {
		t.Error("/connectors is open")
	}
}

func TestManyGuesses(t *testing.T) {
	base := serve(t, connect.Config{"rest.basic.auth.users": "ann:one"}, nil)
	last := 0
	for range 1000 { // A slow machine leaves time for further guesses.
		if last, _ = ask(t, "GET", base+"/connectors", "ann", ""); last == http.StatusTooManyRequests {
			return
		}
	}
	t.Errorf("%d", last)
}

func TestManyRequests(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	slow := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	})
	base := serve(t, connect.Config{"rest.max.requests": "2"}, func(o *rest.Options) { o.Metrics = slow })
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if status, text := ask(t, "GET", base+"/metrics", "", ""); status != 200 {
				t.Errorf("%d %s", status, text)
			}
		})
		<-entered
	}
	if status, text := ask(t, "GET", base+"/connectors", "", ""); status != 503 || !strings.Contains(text, "rest.max.requests") {
		t.Errorf("one too many: %d %s", status, text)
	}
	if status, _ := ask(t, "GET", base+"/health", "", ""); status != 200 {
		t.Errorf("whether it is well: %d", status)
	}
	close(release)
	group.Wait()
	if status, _ := ask(t, "GET", base+"/connectors", "", ""); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

// Connections beyond the limit wait until one of the others ends.
func TestManyConnections(t *testing.T) {
	s, _ := start(t, connect.Config{"rest.port": "0", "rest.max.connections": "1"}, rest.Options{})
	talk := func() net.Conn {
		c, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /connectors HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	answer := func(c net.Conn) {
		t.Helper()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	first := talk()
	answer(first)
	second := talk()
	defer second.Close()
	first.Close()
	answer(second)
}

// TestAuditOfEveryRoute asks every route that changes something: each request has its line,
// which says who, what, to which connector and how it ended.
func TestAuditOfEveryRoute(t *testing.T) {
	var out syncBuffer
	base := serve(t, people, func(given *rest.Options) {
		o := everything()
		given.Metrics, given.UI, given.SQL, given.Streams = o.Metrics, o.UI, o.SQL, o.Streams
		given.Audit = slog.New(slog.NewJSONHandler(&out, nil))
	})
	type line struct {
		Action, Outcome, User, How, Connector, From, Reason, Statement string
		Status                                                         int
		Changed                                                        []string
	}
	lines := func() (all []line) {
		for text := range strings.Lines(out.String()) {
			var l line
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				t.Fatal(err, text)
			}
			all = append(all, l)
		}
		return all
	}
	before := 0
	next := func() []line {
		all := lines()
		added := all[before:]
		before = len(all)
		return added
	}
	for _, route := range rest.Routes(everything()) {
		path := route.Concrete("shop-a")
		ask(t, route.Method, base+path, "ada", "")
		got := next()
		if route.Role == auth.Viewer || route.Role == auth.Worker {
			if len(got) != 0 {
				t.Errorf("%s %s: %+v", route.Method, path, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Action != route.Method+" "+route.Path || got[0].User != "ada" || got[0].How != "basic" || got[0].Outcome == "" || got[0].Status == 0 || got[0].From == "" {
			t.Errorf("%s %s: %+v", route.Method, path, got)
		} else if strings.Contains(route.Path, "{name}") && got[0].Connector != "shop-a" {
			t.Errorf("%s %s: %+v", route.Method, path, got)
		}
		ask(t, route.Method, base+path, "val", "")
		ask(t, route.Method, base+path, "", "")
		got = next()
		if len(got) != 2 || got[0].Outcome != "refused" || got[0].User != "val" || got[0].Status != 403 || got[1].Outcome != "refused" || got[1].User != "" || got[1].Status != 401 {
			t.Errorf("%s %s, refused: %+v", route.Method, path, got)
		}
	}
	// What changed is told by name.
	ask(t, "POST", base+"/connectors", "ada", `{"name":"a","config":{"connector.class":"FileSource","pin":"pin-4711"}}`)
	ask(t, "PUT", base+"/connectors/a/config", "ada", `{"connector.class":"FileSource","pin":"pin-4712","file":"f"}`)
	ask(t, "PATCH", base+"/connectors/a/config", "ada", `{"pin":null,"batch":"5"}`)
	ask(t, "POST", base+"/ksql", "ada", `{"ksql":"create source connector x with ('password'='pin-4713'); Drop  Table y; '"}`)
	got := next()
	want := []string{"connector.class name pin", "file pin", "batch pin", ""}
	for i, l := range got {
		if i >= len(want) || strings.Join(l.Changed, " ") != strings.Replace(want[i], "connector.class name pin", "connector.class name pin", 1) {
			t.Errorf("%+v", l)
		}
	}
	if len(got) != 4 || got[3].Statement != "CREATE SOURCE; DROP TABLE" || got[0].Connector != "a" || got[0].Outcome != "done" {
		t.Errorf("%+v", got)
	}
	if strings.Contains(out.String(), "pin-47") {
		t.Error("a secret is in the audit log")
	}
}

// pair starts two servers of a group: the first sends changes on to the second.
func pair(t *testing.T, out io.Writer) (first, second string, led *standIn) {
	t.Helper()
	led = newStandIn()
	second = serve(t, people, func(o *rest.Options) {
		o.Herder, o.Redactor, o.Audit = led, config.NewRedactor(), slog.New(slog.NewTextHandler(out, nil))
	})
	follower := newStandIn()
	follower.elsewhere = second + "/"
	first = serve(t, people, func(o *rest.Options) { o.Herder = follower })
	return first, second, led
}

// What one worker sends on to another carries who has asked, and the other goes by that.
func TestForwardedRequestsCarryWhoAsks(t *testing.T) {
	var out syncBuffer
	first, second, led := pair(t, &out)
	body := `{"connector.class":"FileSource"}`
	if status, text := ask(t, "PUT", first+"/connectors/a/config", "ada", body); status != 201 {
		t.Fatalf("%d %s", status, text)
	}
	if said := out.String(); !strings.Contains(said, "user=ada") || !strings.Contains(said, "forwarded=true") || led.all["a"] == nil {
		t.Errorf("%s", said)
	}
	if status, _ := ask(t, "PUT", first+"/connectors/b/config", "opa", body); status != 403 {
		t.Errorf("as one who may not: %d", status)
	}
	// A voucher is good for its request alone, and once.
	var caught *http.Request
	spy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caught = r.Clone(r.Context())
		w.WriteHeader(http.StatusNoContent)
	}))
	defer spy.Close()
	follower := newStandIn()
	follower.elsewhere = spy.URL + "/"
	third := serve(t, people, func(o *rest.Options) { o.Herder = follower })
	ask(t, "PUT", third+"/connectors/c/config", "ada", body)
	again := func(method, uri, body string, change func(http.Header)) int {
		r, err := http.NewRequest(method, second+uri, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = caught.Header.Clone()
		r.Header.Del("Authorization")
		if change != nil {
			change(r.Header)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	uri := caught.URL.RequestURI()
	none := func(http.Header) {}
	for name, status := range map[string]int{
		"another body":      again("PUT", uri, `{"connector.class":"FileSource","x":"y"}`, none),
		"another method":    again("PATCH", uri, body, none),
		"another connector": again("PUT", strings.Replace(uri, "/c/", "/d/", 1), body, none),
		"another parameter": again("PUT", strings.Replace(uri, "true", "false", 1), body, none),
		"no signature":      again("PUT", uri, body, func(h http.Header) { h.Del("X-Tidemill-Voucher-Signature") }),
		"another voucher": again("PUT", uri, body, func(h http.Header) {
			h.Set("X-Tidemill-Voucher", strings.ToLower(h.Get("X-Tidemill-Voucher")))
		}),
		"no base64": again("PUT", uri, body, func(h http.Header) { h.Set("X-Tidemill-Voucher", "*") }),
	} {
		if status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	if status := again("PUT", uri, body, none); status != 201 {
		t.Errorf("as it was: %d", status)
	}
	if status := again("PUT", uri, body, none); status != 401 {
		t.Errorf("again: %d", status)
	}
}

// A listener that others can reach goes by the names that are set, if any are.
func TestHostsOfOpenListeners(t *testing.T) {
	raw := connect.Config{"listeners": "http://0.0.0.0:0", "rest.insecure": "true", "rest.allowed.hosts": "connect.example", "rest.advertised.host.name": "worker-1"}
	s, _ := start(t, raw, rest.Options{})
	_, port, _ := strings.Cut(s.Addrs()[0].String(), "]:")
	if port == "" {
		_, port, _ = strings.Cut(s.Addrs()[0].String(), ":")
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for host, want := range map[string]int{"": 200, "connect.example:8083": 200, "CONNECT.example": 200, "worker-1:8083": 200, "evil.example": 421} {
		if status, body := get(t, client, "http://127.0.0.1:"+port+"/", host); status != want {
			t.Errorf("host %q: %d %s", host, status, body)
		}
	}
}

// The transcript of logins is played with passwords in a file, as with those in settings.
func TestTranscriptWithAFile(t *testing.T) {
	var lines []string
	for name, password := range map[string]string{"ann": "one", "bob": "t:wo"} {
		line, err := auth.HashPassword(name, password)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	file := filepath.Join(t.TempDir(), "users")
	writeFile(t, file, strings.Join(lines, "\n"))
	play(t, filepath.Join("testdata", "auth.http"), serve(t, connect.Config{"rest.basic.auth.file": file,
		"access.control.allow.origin": "https://ui.example", "response.http.headers.config": "set X-Extra: 1"}, nil))
}

// docs/security.md has every route with its role, and no setting that there is not.
func TestDocumentOfSecurity(t *testing.T) {
	text, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := 0
	for _, route := range rest.Routes(everything()) {
		all := map[bool]string{true: " all |", false: " |"}[route.Whole]
		line := fmt.Sprintf("| `%s %s` | %s |%s\n", route.Method, strings.Replace(route.Path, "{$}", "", 1), route.Role, all)
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/security.md lacks the line %s", line)
		}
		documented++
	}
	if lines := regexp.MustCompile("(?m)^\\| `[A-Z]+ /").FindAllString(string(text), -1); len(lines) != documented {
		t.Errorf("docs/security.md has %d routes, and there are %d", len(lines), documented)
	}
	known := rest.ConfigDef()
	settings := regexp.MustCompile("`(rest\\.[a-z.]+[a-z])").FindAllStringSubmatch(string(text), -1)
	if len(settings) < 15 {
		t.Errorf("only %d settings found", len(settings))
	}
	for _, m := range settings {
		if _, ok := known.Key(m[1]); !ok && m[1] != "rest.public" && m[1] != "rest.properties" {
			t.Errorf("docs/security.md names the setting %s, which there is not", m[1])
		}
	}
}
