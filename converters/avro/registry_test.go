package avro

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/registry"
)

// startRegistry returns a registry for one test; the embedded one when wrap stands
// before it, and else perhaps a foreign one.
func startRegistry(tb testing.TB, wrap func(http.Handler) http.Handler) string {
	tb.Helper()
	if wrap == nil {
		return devstack.TestRegistry(tb)
	}
	server, err := registry.New(registry.Options{Store: registry.Memory()})
	if err != nil {
		tb.Fatal(err)
	}
	web := httptest.NewServer(wrap(server.Handler()))
	tb.Cleanup(func() {
		web.Close()
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	return web.URL
}

// quick are settings that do not wait long.
func quick(url string, more ...string) connect.Config {
	c := connect.Config{"schema.registry.url": url, "retries.wait.ms": "1", "retries.max.wait.ms": "5"}
	for i := 0; i < len(more); i += 2 {
		c[more[i]] = more[i+1]
	}
	return c
}

func open(tb testing.TB, config connect.Config) *Converter {
	tb.Helper()
	c := &Converter{}
	if err := c.Configure(config, false); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func TestConformance(t *testing.T) {
	connecttest.Converter(t, connecttest.ConverterCase{
		New:     func() connect.Converter { return &Converter{} },
		Config:  func(tb testing.TB) connect.Config { return quick(startRegistry(tb, nil)) },
		Unknown: "schema.registry.uri",
	})
}

func row(name string, fields ...connect.Field) *connect.Schema {
	return connect.SchemaDef{Kind: connect.KindStruct, Name: name, Fields: fields}.MustBuild()
}

var (
	str = connect.Of(connect.KindString)
	i32 = connect.Of(connect.KindInt32)
	i64 = connect.Of(connect.KindInt64)
)

func write(c *Converter, topic string, s *connect.Schema, v connect.Value) ([]byte, error) {
	return c.FromConnect(context.Background(), []byte{}, topic, s, v)
}

func TestWireFormat(t *testing.T) {
	c := open(t, quick(startRegistry(t, nil)))
	s := row("shop.Key", connect.Field{Name: "id", Schema: i32})
	data, err := write(c, "orders", s, connect.StructValue(s.StructOf([]connect.Value{connect.Int32(-3)})))
	if err != nil || len(data) != 6 || data[0] != 0 || data[5] != 5 {
		t.Fatalf("%x %v", data, err)
	}
	id := string(data[:5])
	for _, bad := range []string{"", "\x00", "\x00\x00\x00\x01", "\x01" + id[1:] + "\x05", id + "\x05\x00", id, "\x00\xff\xff\xff\xff\x05"} {
		_, v, err := c.ToConnect(context.Background(), "orders", []byte(bad))
		if e := connect.AsError(err); err == nil || e.Class != connect.ClassRecord || !strings.HasPrefix(e.Place, "orders") {
			t.Errorf("%x was read as %v: %v", bad, v, err)
		}
	}
}

func TestIncompatibleSchema(t *testing.T) {
	c := open(t, quick(startRegistry(t, nil)))
	first := row("shop.Value", connect.Field{Name: "id", Schema: i64})
	if _, err := write(c, "orders", first, connect.StructValue(first.StructOf([]connect.Value{connect.Int64(1)}))); err != nil {
		t.Fatal(err)
	}
	if _, err := write(c, "orders", first, connect.Value{}); connect.AsError(err).Code != "avro.mismatch" {
		t.Error(err)
	}
	second := row("shop.Value", connect.Field{Name: "id", Schema: i64}, connect.Field{Name: "city", Schema: str})
	data, err := write(c, "orders", second, connect.StructValue(second.StructOf([]connect.Value{connect.Int64(1), connect.String("x")})))
	e := connect.AsError(err)
	if data != nil || e == nil || e.Code != "registry.incompatible" || e.Class != connect.ClassFatal || e.Place != "orders-value" ||
		!strings.Contains(e.Error(), "city") || !strings.Contains(e.Mend, "PUT /config/orders-value") {
		t.Errorf("%x %v", data, err)
	}
}

func TestSchemasThatCannotBeWritten(t *testing.T) {
	c := open(t, quick("http://127.0.0.1:1", "max.retries", "0"))
	for want, s := range map[string]*connect.Schema{
		"avro.name: orders: schema struct a-b.Value cannot be written as Avro: \"a-b\": Avro allows":          row("a-b.Value"),
		"avro.name: orders: schema struct R cannot be written as Avro: \"1st\": Avro allows":                  row("R", connect.Field{Name: "1st", Schema: i64}),
		"avro.name_conflict: orders: schema struct R cannot be written as Avro: \"R\": two different schemas": row("R", connect.Field{Name: "r", Schema: row("R")}),
	} {
		_, err := write(c, "orders", s, connect.StructValue(s.NewStruct()))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Count(err.Error(), "→") != 1 {
			t.Error(err)
		}
	}
	scrubbing := open(t, quick(startRegistry(t, nil), "scrub.invalid.names", "true"))
	s := row("a-b.1 Value", connect.Field{Name: "größe m", Schema: i64}, connect.Field{Name: "ok", Schema: i64})
	data, err := write(scrubbing, "orders", s, connect.StructValue(s.StructOf([]connect.Value{connect.Int64(1), connect.Int64(2)})))
	if err != nil {
		t.Fatal(err)
	}
	got, v, err := scrubbing.ToConnect(context.Background(), "orders", data)
	if err != nil || got.Name() != s.Name() || v.String() != `{"gr_C3_B6_C3_9Fe_m":1,"ok":2}` {
		t.Error(got, v, err)
	}
}

func TestStrategies(t *testing.T) {
	for strategy, want := range map[string]string{
		"TopicNameStrategy": "orders-value",
		"io.confluent.kafka.serializers.subject.RecordNameStrategy":      "shop.Value",
		"io.confluent.kafka.serializers.subject.TopicRecordNameStrategy": "orders-shop.Value",
	} {
		url := startRegistry(t, nil)
		c := open(t, quick(url, "value.subject.name.strategy", strategy))
		s := row("shop.Value", connect.Field{Name: "id", Schema: i64}).AsOptional()
		if _, err := write(c, "orders", s, connect.StructValue(s.StructOf([]connect.Value{connect.Int64(1)}))); err != nil {
			t.Fatal(err)
		}
		got, id, err := c.client.LatestSchema(context.Background(), want)
		if err != nil || got != s || id <= 0 {
			t.Errorf("%s: %v %d %v", strategy, got, id, err)
		}
	}
	c := open(t, quick("http://127.0.0.1:1", "value.subject.name.strategy", "RecordNameStrategy"))
	if _, err := write(c, "orders", str, connect.String("x")); connect.AsError(err) == nil || connect.AsError(err).Code != "avro.subject" {
		t.Error(err)
	}
}

func TestWithoutRegistration(t *testing.T) {
	url := startRegistry(t, nil)
	s := row("shop.Value", connect.Field{Name: "id", Schema: i32})
	v := connect.StructValue(s.StructOf([]connect.Value{connect.Int32(1)}))
	c := open(t, quick(url, "auto.register.schemas", "false"))
	if data, err := write(c, "orders", s, v); data != nil || connect.AsError(err).Code != codeNotFound {
		t.Errorf("%x %v", data, err)
	}
	if _, err := write(open(t, quick(url)), "orders", s, v); err != nil {
		t.Fatal(err)
	}
	if data, err := write(c, "orders", s, v); err != nil || len(data) != 6 || data[5] != 2 {
		t.Errorf("%x %v", data, err)
	}
}

// TestLatestVersion writes with the subject's schema instead of one's own: wider
// numbers, fields in another order, fields filled with their defaults.
func TestLatestVersion(t *testing.T) {
	url := startRegistry(t, nil)
	client, err := NewRegistry(quick(url))
	if err != nil {
		t.Fatal(err)
	}
	text := `{"type":"record","name":"Value","namespace":"shop","fields":[{"name":"kind","type":["string","null"],"default":"ä"},` +
		`{"name":"at","type":{"type":"record","name":"At","fields":[{"name":"x","type":"int"},{"name":"y","type":"long","default":7}]},"default":{"x":3}},` +
		`{"name":"city","type":["null","string"],"default":null},{"name":"id","type":"long"}]}`
	if _, err := client.registry.Register(context.Background(), "orders-value", text); err != nil {
		t.Fatal(err)
	}
	c := open(t, quick(url, "auto.register.schemas", "false", "use.latest.version", "true"))
	s := row("mine", connect.Field{Name: "id", Schema: i32}, connect.Field{Name: "city", Schema: str})
	data, err := write(c, "orders", s, connect.StructValue(s.StructOf([]connect.Value{connect.Int32(5), connect.String("x")})))
	if err != nil {
		t.Fatal(err)
	}
	if _, v, err := c.ToConnect(context.Background(), "orders", data); err != nil || v.String() != `{"kind":"ä","at":{"x":3,"y":7},"city":"x","id":5}` {
		t.Error(v, err)
	}
	more := row("mine", connect.Field{Name: "id", Schema: i32}, connect.Field{Name: "lost", Schema: str})
	if _, err := write(c, "orders", more, connect.StructValue(more.NewStruct())); err == nil || !strings.Contains(err.Error(), "no field lost") {
		t.Error(err)
	}
}

func TestReferences(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /schemas/ids/7", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"schema":"{\"type\":\"record\",\"name\":\"a.Order\",\"fields\":[{\"name\":\"to\",\"type\":\"b.Place\"}]}","references":[{"name":"b.Place","subject":"places","version":2}]}`)
	})
	mux.HandleFunc("GET /subjects/places/versions/2", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"subject":"places","id":3,"version":2,"schema":"{\"type\":\"record\",\"name\":\"Place\",\"namespace\":\"b\",\"fields\":[{\"name\":\"zip\",\"type\":\"int\"}]}"}`)
	})
	mux.HandleFunc("GET /schemas/ids/8", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"}`)
	})
	web := httptest.NewServer(mux)
	defer web.Close()
	c := open(t, quick(web.URL))
	_, v, err := c.ToConnect(context.Background(), "t", []byte("\x00\x00\x00\x00\x07\x0a"))
	if err != nil || v.String() != `{"to":{"zip":5}}` {
		t.Error(v, err)
	}
	if _, _, err := c.ToConnect(context.Background(), "t", []byte("\x00\x00\x00\x00\x08\x0a")); connect.AsError(err) == nil || connect.AsError(err).Code != "registry.not_avro" {
		t.Error(err)
	}
}

// failing stands before a registry and answers some requests itself.
type failing struct {
	requests atomic.Int32
	answer   func(n int32, w http.ResponseWriter, r *http.Request) bool
}

func (f *failing) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f.answer(f.requests.Add(1), w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

func TestPassingFailuresAreRetried(t *testing.T) {
	for _, status := range []int{500, 502, 503, 429} {
		f := &failing{answer: func(n int32, w http.ResponseWriter, _ *http.Request) bool {
			if n <= 2 {
				w.WriteHeader(status)
				fmt.Fprint(w, `{"error_code":50003,"message":"not now"}`)
			}
			return n <= 2
		}}
		c := open(t, quick(startRegistry(t, f.wrap)))
		if _, err := write(c, "t", str, connect.String("x")); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestLastingFailures(t *testing.T) {
	for status, want := range map[int]string{503: "registry.unavailable", 401: "registry.denied", 403: "registry.denied", 422: "registry.rejected", 418: "registry.failed"} {
		f := &failing{answer: func(_ int32, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			fmt.Fprint(w, `{"error_code":1,"message":"because"}`)
			return true
		}}
		c := open(t, quick(startRegistry(t, f.wrap), "max.retries", "1"))
		data, err := write(c, "t", str, connect.String("x"))
		e := connect.AsError(err)
		if data != nil || e == nil || e.Code != want || e.Mend == "" || !strings.Contains(err.Error(), "because") {
			t.Errorf("%d: %x %v", status, data, err)
			continue
		}
		if retriable := e.Class == connect.ClassRetriable; retriable != (status == 503) || retriable && (e.After != 7*time.Second || f.requests.Load() != 2) {
			t.Errorf("%d: class %v after %v, %d requests", status, e.Class, e.After, f.requests.Load())
		}
	}
}

func TestNextAddress(t *testing.T) {
	c := open(t, quick("http://127.0.0.1:1,"+startRegistry(t, nil)))
	if _, err := write(c, "t", str, connect.String("x")); err != nil {
		t.Error(err)
	}
}

func TestCallerWithoutTime(t *testing.T) {
	release := make(chan struct{})
	f := &failing{answer: func(_ int32, _ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	}}
	c := open(t, quick(startRegistry(t, f.wrap)))
	defer close(release)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := c.FromConnect(ctx, []byte{}, "t", str, connect.String("x"))
	if e := connect.AsError(err); e == nil || e.Class != connect.ClassRetriable {
		t.Error(err)
	}
}

func TestCredentials(t *testing.T) {
	var seen []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, "elsewhere "+r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	f := &failing{answer: func(_ int32, w http.ResponseWriter, r *http.Request) bool {
		seen = append(seen, r.Header.Get("Authorization"))
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}}
	url := startRegistry(t, f.wrap)
	for _, config := range []connect.Config{
		quick(url, "basic.auth.credentials.source", "USER_INFO", "basic.auth.user.info", "me:geheim"),
		quick(strings.Replace(url, "http://", "http://me:geheim@", 1)),
		quick(url, "bearer.auth.token", "geheim"),
	} {
		_, err := write(open(t, config), "t", str, connect.String("x"))
		if err == nil || strings.Contains(err.Error(), "geheim") || connect.AsError(err).Code != "registry.redirect" {
			t.Error(err)
		}
	}
	if got := strings.Join(seen, "|"); got != "Basic bWU6Z2VoZWlt|Basic bWU6Z2VoZWlt|Bearer geheim" {
		t.Error(got)
	}
}

// TestOneRequestForMany lets many ask for one schema at once.
func TestOneRequestForMany(t *testing.T) {
	f := &failing{answer: func(int32, http.ResponseWriter, *http.Request) bool { return false }}
	url := startRegistry(t, f.wrap)
	client, err := NewRegistry(quick(url))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			id, err := client.id(context.Background(), registration{"t-value", `"string"`, true})
			if id != 1 || err != nil {
				t.Error(id, err)
			}
			if n, err := client.schema(context.Background(), 1); err != nil || n.typ != tString {
				t.Error(n, err)
			}
		})
	}
	all.Wait()
	// srclient registers with two requests, and reading by id is a third.
	if n := f.requests.Load(); n != 3 {
		t.Errorf("%d requests", n)
	}
}

func TestUnknownIDIsAskedOnce(t *testing.T) {
	f := &failing{answer: func(int32, http.ResponseWriter, *http.Request) bool { return false }}
	c := open(t, quick(startRegistry(t, f.wrap)))
	for range 5 {
		_, _, err := c.ToConnect(context.Background(), "t", []byte("\x00\x00\x00\x00\x63\x02"))
		if e := connect.AsError(err); e == nil || e.Code != "registry.unknown_id" || e.Class != connect.ClassRecord {
			t.Error(err)
		}
	}
	if n := f.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestConfigurationFaults(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"schema.registry.url", "localhost:8081", "http://host:port"},
		{"schema.registry.url", "http://me:geheim@:x", "http://host:port"},
		{"auto.register.schema", "false", "did you mean auto.register.schemas?"},
		{"schema.registry.ssl.truststore.location", "/does/not/exist", "cannot be read"},
		{"schema.registry.ssl.truststore.type", "JKS", "PEM"},
		{"schema.registry.ssl.truststore.certificates", "x", "no certificate"},
		{"schema.registry.ssl.keystore.certificate.chain", "x", "no certificate"},
		{"value.subject.name.strategy", "my.Strategy", "TopicNameStrategy"},
	} {
		err := (&Converter{}).Configure(quick("http://localhost:8081", c.name, c.value), false)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
	}
	if err := (&Converter{}).Configure(quick("http://localhost:8081", "schemas.enable", "false"), false); err != nil {
		t.Error(err)
	}
	if err := (&Converter{}).Configure(nil, false); err == nil || !strings.Contains(err.Error(), "schema.registry.url") {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	server, err := registry.New(registry.Options{Store: registry.Memory()})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(server.Handler())
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	defer web.Close()
	trusted := certificatePEM(web.Certificate())
	c := open(t, quick(web.URL, "schema.registry.ssl.truststore.certificates", trusted))
	if _, err := write(c, "t", str, connect.String("x")); err != nil {
		t.Error(err)
	}
	other := strings.Replace(web.URL, "127.0.0.1", "localhost", 1)
	if _, err := write(open(t, quick(other, "max.retries", "0", "schema.registry.ssl.truststore.certificates", trusted)), "t", str, connect.String("x")); err == nil {
		t.Error("a certificate for another host was taken")
	}
	c = open(t, quick(other, "schema.registry.ssl.truststore.certificates", trusted, "schema.registry.ssl.endpoint.identification.algorithm", ""))
	if _, err := write(c, "t", str, connect.String("x")); err != nil {
		t.Error(err)
	}
	if _, err := write(open(t, quick(web.URL, "max.retries", "0")), "t", str, connect.String("x")); err == nil {
		t.Error("an unknown certificate was taken")
	}
}

func certificatePEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
