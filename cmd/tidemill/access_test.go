package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// tell runs tidemill to its end with an input, and returns what it says and its exit code.
func tell(t *testing.T, env []string, input string, args ...string) (out, said string, code int) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// TestUsersFromTheCommandLine keeps files of users and tokens, and a worker goes by them at
// once.
func TestUsersFromTheCommandLine(t *testing.T) {
	t.Parallel()
	ctx := timeout(t, 3*time.Minute)
	dir := t.TempDir()
	users, tokens := filepath.Join(dir, "users"), filepath.Join(dir, "tokens")
	user := func(want int, input string, args ...string) string {
		t.Helper()
		out, said, code := tell(t, nil, input, append([]string{"user"}, args...)...)
		if code != want || strings.Contains(out+said, "geheim") {
			t.Errorf("tidemill user %v: %d %s%s", args, code, out, said)
		}
		return strings.TrimSpace(out)
	}
	user(exitOK, "geheim-1\n", "add", "ann", "--file", users)
	user(exitOK, "geheim-2", "add", "bob", "--file", users)
	user(exitBadInput, "", "add", "eve", "--file", users)
	user(exitBadInput, "geheim\n", "add", "a:b", "--file", users)
	user(exitBadInput, "geheim\n", "add", "eve")
	user(exitBadInput, "", "remove", "eve", "--file", users)
	token := user(exitOK, "", "token", "deploy", "--file", tokens)
	if names := user(exitOK, "", "list", "--file", users, "-o", "json"); names != `["ann","bob"]` {
		t.Error(names)
	}
	for _, file := range []string{users, tokens} {
		text, err := os.ReadFile(file)
		info, _ := os.Stat(file)
		if err != nil || strings.Contains(string(text), "geheim") || strings.Contains(string(text), token) || info.Mode().Perm() != 0o600 {
			t.Errorf("%s %v %v", text, info.Mode(), err)
		}
	}
	port := freePorts(t, 1)[0]
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	settings := exactlyOnceSettings(t, strings.Join(devstack.TestKafka(t), ","), base)
	appendTo(t, settings, "group.id=users\nconfig.storage.topic=u-configs\noffset.storage.topic=u-offsets\nstatus.storage.topic=u-status\n"+
		"rest.basic.auth.file="+users+"\nrest.token.file="+tokens+"\nrest.roles=ann=admin;bob=viewer;deploy=operator\nrest.open.paths=/health\n")
	launch(t, "worker", "-c", settings).waitHealthy(ctx, base)
	ask := func(method, path, header string, basic ...string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		if len(basic) == 2 {
			r.SetBasicAuth(basic[0], basic[1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for what, got := range map[string][2]int{
		"nobody":                {ask("GET", "/connectors", ""), 401},
		"ann":                   {ask("GET", "/connectors", "", "ann", "geheim-1"), 200},
		"ann, wrong":            {ask("GET", "/connectors", "", "ann", "geheim-2"), 401},
		"bob writes":            {ask("DELETE", "/connectors/x", "", "bob", "geheim-2"), 403},
		"ann writes":            {ask("DELETE", "/connectors/x", "", "ann", "geheim-1"), 404},
		"the token":             {ask("PUT", "/connectors/x/pause", "Bearer "+token), 404},
		"the token may no more": {ask("DELETE", "/connectors/x", "Bearer "+token), 403},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d instead of %d", what, got[0], got[1])
		}
	}
	// The commands that ask a worker show who asks.
	login := []string{"TIDEMILL_LOGIN_USER=ann", "TIDEMILL_LOGIN_PASSWORD=geheim-1"}
	for what, tt := range map[string]struct {
		env  []string
		want string
	}{"nobody": {nil, "rest.unauthorized"}, "ann": {login, "doctor.unknown"}, "the token": {[]string{"TIDEMILL_LOGIN_TOKEN=" + token}, "doctor.unknown"}} {
		out, said, code := tell(t, tt.env, "", "doctor", "nothing", "--url", base)
		if code == exitOK || !strings.Contains(out+said, tt.want) {
			t.Errorf("doctor as %s: %d %s%s", what, code, out, said)
		}
	}
	user(exitOK, "", "remove", "bob", "--file", users)
	user(exitOK, "geheim-3\n", "add", "ann", "--file", users)
	for what, got := range map[string][2]int{
		"bob, who is gone":    {ask("GET", "/connectors", "", "bob", "geheim-2"), 401},
		"ann, as before":      {ask("GET", "/connectors", "", "ann", "geheim-1"), 401},
		"ann, as she is told": {ask("GET", "/connectors", "", "ann", "geheim-3"), 200},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d instead of %d", what, got[0], got[1])
		}
	}
}

// A worker that everybody could reach, and that would ask nobody, does not start.
func TestOpenWorkersDoNotStart(t *testing.T) {
	t.Parallel()
	settings := exactlyOnceSettings(t, "127.0.0.1:1", "http://0.0.0.0:0")
	_, said, code := tell(t, nil, "", "worker", "-c", settings)
	if code != exitBadInput || !strings.Contains(said, "rest.public") || !strings.Contains(said, "--insecure") {
		t.Errorf("%d %s", code, said)
	}
	for _, how := range []string{"flag", "setting", "variable"} {
		args, env := []string{"worker", "-c", settings}, []string{}
		switch how {
		case "flag":
			args = append(args, "--insecure")
		case "variable":
			env = append(env, "CONNECT_REST_INSECURE=true")
		case "setting":
			appendTo(t, settings, "rest.insecure=true\n")
		}
		// It goes on to what is wrong next.
		args = append(args, "--standalone")
		_, said, code = tell(t, env, "", args...)
		if code != exitBadInput || strings.Contains(said, "rest.public") || !strings.Contains(said, "offset.storage.file.filename") {
			t.Errorf("%s: %d %s", how, code, said)
		}
	}
}

func appendTo(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// notary signs certificates for workers on 127.0.0.1 and for people.
type notary struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
	next int64
}

func newNotary(t *testing.T) *notary {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "notary"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	n := &notary{t: t, key: key, dir: t.TempDir(), next: 1}
	if n.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	n.write("trust.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return n
}

func (n *notary) write(name string, text []byte) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// sign writes certificate and key of a name to a file.
func (n *notary) sign(name string) string {
	n.t.Helper()
	n.next++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(n.next), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, n.cert, &key.PublicKey, n.key)
	if err != nil {
		n.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.write(name+".pem", append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...))
}

// person asks with a certificate of a name.
func (n *notary) person(name string) *http.Client {
	n.t.Helper()
	file := n.sign(name)
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		n.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(n.cert)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}}
}

// TestFleetBehindCertificates runs two workers of a group that ask everybody for a
// certificate, each other as well. What one sends on to the other counts as what the person
// has sent, and what they ask of each other still works.
func TestFleetBehindCertificates(t *testing.T) {
	t.Parallel()
	ctx := timeout(t, 4*time.Minute)
	n, brokers, ports := newNotary(t), strings.Join(devstack.TestKafka(t), ","), freePorts(t, 2)
	ann, bob := n.person("ann"), n.person("bob")
	var bases, audits []string
	var workers []*process
	for i, port := range ports {
		base := fmt.Sprintf("https://127.0.0.1:%d", port)
		settings := exactlyOnceSettings(t, brokers, base)
		audit := filepath.Join(n.dir, fmt.Sprintf("audit-%d.log", i))
		appendTo(t, settings, fmt.Sprintf("listeners.https.ssl.keystore.location=%s\nlisteners.https.ssl.truststore.location=%s\nlisteners.https.ssl.client.auth=required\n"+
			"rest.roles=ann=admin; bob=viewer\nrest.audit.file=%s\nexactly.once.source.support=disabled\nheartbeat.interval.ms=100\n",
			n.sign(fmt.Sprint("worker-", i)), filepath.Join(n.dir, "trust.pem"), audit))
		workers, bases, audits = append(workers, launch(t, "worker", "-c", settings)), append(bases, base), append(audits, audit)
	}
	ask := func(who *http.Client, method, url, body string) (int, string) {
		r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := who.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	wait := func(what string, holds func() bool) {
		t.Helper()
		if err := until(ctx, what, func() (bool, error) { return holds(), nil }); err != nil {
			t.Fatalf("%v\n%s\n%s", err, workers[0].stderr.String(), workers[1].stderr.String())
		}
	}
	for _, base := range bases {
		wait(base+" to be healthy", func() bool { status, _ := ask(bob, "GET", base+"/health", ""); return status == 200 })
	}
	const config = `{"connector.class":"tidemill.Datagen","quickstart":"orders","topic":"orders","rate":"1"}`
	for i := range 4 {
		base := bases[i%2]
		path := fmt.Sprintf("%s/connectors/c%d/config", base, i)
		if status, text := ask(bob, "PUT", path, config); status != 403 {
			t.Errorf("a viewer: %d %s", status, text)
		}
		wait("the connector to be taken", func() bool {
			status, text := ask(ann, "PUT", path, config)
			if status == 400 {
				t.Fatal(text)
			}
			return status == 201 || status == 200
		})
	}
	for i := range 4 {
		wait("its task to run", func() bool {
			_, text := ask(bob, "GET", fmt.Sprintf("%s/connectors/c%d/status", bases[i%2], i), "")
			return strings.Count(text, `"RUNNING"`) == 2
		})
	}
	seen := map[bool]int{} // Lines by whether they were sent on.
	for _, file := range audits {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var e struct {
				User, How, Outcome string
				Forwarded          bool
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.User != "ann" && e.User != "bob" || e.How != "certificate" {
				t.Errorf("%s %v", line, err)
			}
			if e.User == "ann" && e.Outcome == "done" {
				seen[e.Forwarded]++
			}
		}
	}
	if seen[true] == 0 || seen[false] < 4 {
		t.Errorf("%v of the changes were sent on", seen)
	}
	// Who has no certificate is not spoken to, not even about what workers ask each other.
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if status, text := ask(stranger, "POST", bases[0]+"/connectors/c0/tasks", "[]"); status != 0 {
		t.Errorf("%d %s", status, text)
	}
}
