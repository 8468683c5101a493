package rest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/rest"
)

// FuzzRequest sends any path and body: the server must not panic, and every error
// must be of the one form clients know.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/connectors/a%2Fb/status", ""}, {"PUT", "/connectors/%00/config", `{"connector.class":"FileSource","a":1}`}, {"POST", "/connectors", `{"name":"\ud800","config":{}}`},
		{"PATCH", "/connectors/a/offsets", `{"offsets":[{"partition":null}]}`}, {"PUT", "/admin/loggers/..", `{"level":"off"}`}, {"POST", "/query", `{"ksql":"all","streamsProperties":{"a":1e9}}`},
		{"GET", "/ui/../connectors", ""}, {"PUT", "/connector-plugins/FileSource/config/validate", `{"connector.class":"FileSource","batch":null}`}, {"POST", "/connectors/x/tasks/99999999999999999999/restart", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	settings, err := rest.ConfigDef().Parse(nil)
	if err != nil {
		f.Fatal(err)
	}
	s, err := rest.New(rest.Options{Settings: settings, Herder: newStandIn(), SQL: &sqlStandIn{}, UI: rest.AnyHandler, Metrics: rest.AnyHandler})
	if err != nil {
		f.Fatal(err)
	}
	handler := s.Handler()
	f.Fuzz(func(t *testing.T, method, path, body string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" || strings.Contains(body, "push") {
			return // No server is asked this, or the answer has no end.
		}
		r := &http.Request{Method: method, URL: u, Host: "localhost", Header: http.Header{}, Body: http.NoBody, ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
		r = r.WithContext(t.Context())
		if body != "" {
			r.Body = http.MaxBytesReader(nil, readCloser{strings.NewReader(body)}, 1<<20)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "Internal error") {
			t.Fatalf("%s %s %q: a panic", method, path, body)
		}
		if w.Code < 400 || strings.HasPrefix(u.Path, "/ui/") || u.Path == "/metrics" || strings.HasPrefix(u.Path, "/health") {
			return
		}
		var e struct {
			Code int `json:"error_code"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Code != w.Code && e.Code/100 != w.Code {
			t.Errorf("%s %s %q: %d %s", method, path, body, w.Code, w.Body)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
