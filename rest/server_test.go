package rest_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/worker"
)

// start runs a server on the listeners of raw until the test ends, and returns it
// with a function that stops it and waits.
func start(t *testing.T, raw connect.Config, o rest.Options) (*rest.Server, func()) {
	t.Helper()
	settings, err := rest.ConfigDef().Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	o.Settings = settings
	if o.Herder == nil {
		o.Herder = newStandIn()
	}
	s, err := rest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func get(t *testing.T, client *http.Client, url, host string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func TestRunServesAndStops(t *testing.T) {
	s, stop := start(t, connect.Config{"rest.port": "0", "rest.allowed.hosts": "tidemill.internal"}, rest.Options{})
	addr := s.Addrs()[0].String()
	if !strings.HasPrefix(addr, "127.0.0.1:") {
		t.Errorf("listens on %s", addr)
	}
	client := &http.Client{Transport: &http.Transport{}}
	for host, want := range map[string]int{"": 200, "localhost:1": 200, "127.0.0.1": 200, "[::1]:8": 200, "a.localhost": 200, "tidemill.internal:8083": 200, "evil.example": 421} {
		if status, body := get(t, client, "http://"+addr+"/", host); status != want {
			t.Errorf("host %q: %d %s", host, status, body)
		}
	}
	client.CloseIdleConnections()
	stop()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("it still listens")
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	settings, err := rest.ConfigDef().Parse(connect.Config{"listeners": "http://127.0.0.1:0,HTTP://" + taken.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := rest.New(rest.Options{Settings: settings, Herder: newStandIn()})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if e := connect.AsError(err); e == nil || e.Code != "rest.listen" || e.Place != taken.Addr().String() || e.Mend == "" {
		t.Error(err)
	}
}

// Other machines may reach a listener only where they are asked who they are, or somebody
// has said that they need not be.
func TestOpenListeners(t *testing.T) {
	hashes := filepath.Join(t.TempDir(), "users")
	line, err := auth.HashPassword("ann", "one")
	if err == nil {
		err = os.WriteFile(hashes, []byte(line), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		raw         connect.Config
		refused     bool
		said, never string
	}{
		"nobody is asked":   {connect.Config{"listeners": "http://0.0.0.0:0"}, true, "", ""},
		"by name":           {connect.Config{"listeners": "http://localhost:0,http://[::]:0"}, true, "", ""},
		"for some":          {connect.Config{"rest.port": "0", "admin.listeners": "http://0.0.0.0:0"}, true, "", ""},
		"insecure":          {connect.Config{"listeners": "http://0.0.0.0:0", "rest.insecure": "true"}, false, "can do everything", ""},
		"asked, in clear":   {connect.Config{"listeners": "http://0.0.0.0:0", "rest.basic.auth.users": "a:b"}, false, "in the clear", "can do everything"},
		"asked, by file":    {connect.Config{"listeners": "http://0.0.0.0:0", "rest.basic.auth.file": hashes}, false, "in the clear", "can do everything"},
		"asked, here alone": {connect.Config{"rest.port": "0", "rest.basic.auth.users": "a:b"}, false, "", "clear"},
	} {
		settings, err := rest.ConfigDef().Parse(tt.raw)
		if err != nil {
			t.Fatal(err)
		}
		var out syncBuffer
		s, err := rest.New(rest.Options{Settings: settings, Herder: newStandIn(), Log: slog.New(slog.NewTextHandler(&out, nil))})
		if tt.refused {
			if e := connect.AsError(err); err == nil || !strings.Contains(err.Error(), "rest.public") || e == nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.Listen(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		if said := out.String(); !strings.Contains(said, tt.said) || tt.never != "" && strings.Contains(said, tt.never) || tt.said == "" && said != "" {
			t.Errorf("%s: %q", name, said)
		}
	}
}

// syncBuffer is a buffer that may be read while others write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestChangesAreLogged(t *testing.T) {
	var out syncBuffer
	s, stop := start(t, connect.Config{"rest.port": "0"}, rest.Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	base := "http://" + s.Addrs()[0].String()
	get(t, http.DefaultClient, base+"/connectors", "")
	resp, err := http.Post(base+"/connectors/a/restart", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	stop()
	if lines := strings.Count(out.String(), "\n"); lines != 1 || !strings.Contains(out.String(), "method=POST path=/connectors/a/restart status=404") {
		t.Errorf("%q", out.String())
	}
}

func TestMaskedValuesAreStoredUnchanged(t *testing.T) {
	h := newStandIn()
	stored := connect.Config{"connector.class": "FileSource", "name": "a", "pin": "1234", "database.password": "hunter2", "url": "http://u:pw@h",
		"transforms": "f, s", "transforms.f.type": "unknown", "transforms.s.type": "Stamp", "transforms.s.seal": "9876", "transforms.s.text": "open",
		"value.converter": "Stamp", "value.converter.seal": "5432"}
	h.all["a"] = stored
	base := serve(t, nil, func(o *rest.Options) { o.Herder = h })
	_, body := get(t, http.DefaultClient, base+"/connectors/a/config", "")
	for _, secret := range []string{"1234", "hunter2", ":pw@", "9876", "5432"} {
		if strings.Contains(body, secret) {
			t.Errorf("%s in %s", secret, body)
		}
	}
	if !strings.Contains(body, `"open"`) {
		t.Errorf("what is no secret is hidden: %s", body)
	}
	send := func(method, path, body string) int {
		r, _ := http.NewRequest(method, base+path, strings.NewReader(body))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := send("PUT", "/connectors/a/config", body); status != 200 {
		t.Fatal(status)
	}
	if status := send("PATCH", "/connectors/a/config", body); status != 200 {
		t.Fatal(status)
	}
	for key, text := range stored {
		if h.all["a"][key] != text {
			t.Errorf("%s became %s", key, h.all["a"][key])
		}
	}
	if status := send("PUT", "/connector-plugins/FileSource/config/validate", body); status != 200 || h.validated["pin"] != "1234" {
		t.Error(status, h.validated)
	}
}

// An error that quotes what the client sent does not tell its secrets.
func TestErrorsTellNoSecrets(t *testing.T) {
	h := newStandIn()
	base := serve(t, nil, func(o *rest.Options) { o.Herder = h })
	h.all["a"] = connect.Config{"connector.class": "FileSource"}
	put(t, base+"/connectors/a/config", `{"connector.class":"FileSource","pin":"pin-0815"}`)
	if text := put(t, base+"/connectors/b/config", `{"connector.class":"no pin-0815, no hunter22","x.password":"hunter22"}`); strings.Contains(text, "0815") || strings.Contains(text, "hunter22") {
		t.Error(text)
	}
}

func TestBadSettings(t *testing.T) {
	_, err := rest.ConfigDef().Parse(connect.Config{"listeners": "ftp://x:1, http://y", "rest.compat.errors": "java", "response.http.headers.config": "put x", "rest.mask.secret": "no", "rest.advertised.port": "1", "group.id": "g"})
	for _, want := range []string{"did you mean rest.mask.secrets?", "must begin with http:// or https://", "must be one of: kafka, strict", "set|add name: value"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
	settings, err := rest.ConfigDef().Parse(connect.Config{"listeners": "https://127.0.0.1:0", "rest.extension.classes": "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = rest.New(rest.Options{Settings: settings, Herder: newStandIn()})
	if err == nil || !strings.Contains(err.Error(), "there are no users") || !strings.Contains(err.Error(), "rest.tls: listeners.https.ssl.keystore.location") {
		t.Error(err)
	}
}

func TestTLSAndAdminListeners(t *testing.T) {
	cert, key, pool := certificate(t)
	s, _ := start(t, connect.Config{"listeners": "https://127.0.0.1:0", "admin.listeners": "http://127.0.0.1:0", "ssl.certificate.location": cert, "ssl.key.location": key}, rest.Options{})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	addrs := s.Addrs()
	for url, want := range map[string]int{
		"https://" + addrs[0].String() + "/connectors": 200, "https://" + addrs[0].String() + "/admin/loggers": 404,
		"http://" + addrs[1].String() + "/admin/loggers": 200, "http://" + addrs[1].String() + "/connectors": 404,
	} {
		if status, body := get(t, client, url, ""); status != want {
			t.Errorf("%s: %d %s", url, status, body)
		}
	}
}

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, text := range map[string][]byte{cert: certPEM, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return cert, key, pool
}

// A client that announces a body in two ways, or sends none of what it announces,
// must not confuse or hold the server.
func TestSmuggling(t *testing.T) {
	s, _ := start(t, connect.Config{"rest.port": "0"}, rest.Options{})
	c, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "PUT /connectors/a/config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\n{}1234")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(line, "400") {
		t.Errorf("%q %v", line, err)
	}
}

func TestLoggerLevels(t *testing.T) {
	var out bytes.Buffer
	loggers := rest.NewLoggers(slog.LevelInfo)
	log := loggers.Logger("tidemill.worker", slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	base := serve(t, nil, func(o *rest.Options) { o.Loggers = loggers })
	log.Debug("one")
	r, _ := http.NewRequest("PUT", base+"/admin/loggers/tidemill", strings.NewReader(`{"level":"debug"}`))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	log.With("a", 1).WithGroup("g").Debug("two", "b", 2)
	if got := out.String(); strings.Contains(got, "one") || !strings.Contains(got, "msg=two logger=tidemill.worker a=1 g.b=2") {
		t.Error(got)
	}
	if _, body := get(t, http.DefaultClient, base+"/admin/loggers/tidemill.worker", ""); !strings.Contains(body, `{"level":"DEBUG","last_modified":1`) {
		t.Error(body)
	}
}

// slowHerder takes its time to create a connector.
type slowHerder struct {
	*standIn
	takes time.Duration
}

func (h slowHerder) Create(ctx context.Context, r worker.CreateRequest) (worker.ConnectorInfo, error) {
	timer := time.NewTimer(h.takes)
	select {
	case <-timer.C:
		return h.standIn.Create(ctx, r)
	case <-ctx.Done():
		return worker.ConnectorInfo{}, ctx.Err()
	}
}

// A body that does not come ends the request; one that has come gives the worker all
// the time of the request, and leaves the connection as it was.
func TestSlowBodiesAndSlowWork(t *testing.T) {
	s, _ := start(t, connect.Config{"rest.port": "0", "rest.request.timeout.ms": "700"}, rest.Options{Herder: slowHerder{newStandIn(), 300 * time.Millisecond}, Metrics: rest.AnyHandler})
	s.SetBodyTimeout(50 * time.Millisecond)
	c, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	ask := func(request, want string) {
		t.Helper()
		io.WriteString(c, request)
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || !strings.HasPrefix(resp.Status, want) {
			t.Errorf("%s instead of %s: %s %v", resp.Status, want, body, err)
		}
	}
	body := `{"name":"a","config":{"connector.class":"FileSource"}}`
	ask("POST /connectors HTTP/1.1\r\nHost: localhost\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body, "201")
	ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "404")
	ask("PUT /connectors/a/config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", "408")
}

func TestRequestsEndInTime(t *testing.T) {
	base := serve(t, connect.Config{"rest.request.timeout.ms": "20"}, func(o *rest.Options) { o.Herder = slowHerder{newStandIn(), time.Minute} })
	resp, err := http.Post(base+"/connectors", "application/json", strings.NewReader(`{"name":"a","config":{"connector.class":"FileSource"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 500 || string(body) != `{"error_code":500,"message":"Request timed out"}` {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// put sends a body and returns the answer's.
func put(t *testing.T, url, body string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
