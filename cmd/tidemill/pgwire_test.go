package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestDevAnswersPsql: `tidemill dev` says how psql asks it, and answers.
func TestDevAnswersPsql(t *testing.T) {
	ctx := timeout(t, 2*time.Minute)
	ports := freePorts(t, 4)
	dev := launch(t, "dev", "--data-dir", t.TempDir(), "--rest-port", fmt.Sprint(ports[0]), "--kafka-port", fmt.Sprint(ports[1]), "--registry-port", fmt.Sprint(ports[2]), "--pgwire-port", fmt.Sprint(ports[3]))
	dev.waitHealthy(ctx, fmt.Sprintf("http://127.0.0.1:%d", ports[0]))
	dir, _, err := devstack.FindPostgres(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprintf("psql -h 127.0.0.1 -p %d", ports[3])
	err = until(ctx, "the line about psql, and SQL", func() (bool, error) {
		if !strings.Contains(dev.stderr.String(), said) {
			return false, nil
		}
		out, err := exec.CommandContext(ctx, filepath.Join(dir, "psql"), append(strings.Fields(said)[1:], "-X", "-c", "SHOW STREAMS")...).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "statement log") {
			return false, fmt.Errorf("%w\n%s", err, out)
		}
		return strings.Contains(string(out), "(0 rows)"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPgwireSettings: what cannot be listened to is told before anything starts.
func TestPgwireSettings(t *testing.T) {
	for listeners, want := range map[string]string{"127.0.0.1:1": "there is no SQL engine", "somewhere": "host:port"} {
		settings := exactlyOnceSettings(t, "127.0.0.1:1", "http://127.0.0.1:0")
		appendTo(t, settings, "pgwire.listeners="+listeners+"\n")
		_, said, code := tell(t, nil, "", "worker", "-c", settings)
		if code != exitBadInput || !strings.Contains(said, want) {
			t.Errorf("%s: %d %s", listeners, code, said)
		}
	}
	settings := exactlyOnceSettings(t, "127.0.0.1:1", "http://127.0.0.1:0")
	appendTo(t, settings, "pgwire.listeners=0.0.0.0:1\nksql.service.id=x\n")
	if _, said, code := tell(t, nil, "", "worker", "-c", settings); code != exitBadInput || !strings.Contains(said, "nobody is asked who they are") {
		t.Errorf("%d %s", code, said)
	}
}

// javaStore writes what begins as Java's key stores do.
func javaStore(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "client.jks")
	if err := os.WriteFile(file, []byte("\xfe\xed\xfe\xed"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPgwireBesideStoresOfKafka: the stores of Kafka's clients, which may be Java's, are none
// of the listeners' business when no https listener stands; PostgreSQL's clients are spoken
// to over TLS once a certificate is given for listeners.
func TestPgwireBesideStoresOfKafka(t *testing.T) {
	t.Parallel()
	ctx := timeout(t, 4*time.Minute)
	n, brokers, jks := newNotary(t), strings.Join(devstack.TestKafka(t), ","), javaStore(t)
	certificate := n.sign("postgres")
	for group, tt := range map[string]struct{ more, answer string }{
		"stores-plain":  {"", "N"},
		"stores-https":  {"listeners.https.ssl.keystore.location=" + certificate, "S"},
		"stores-server": {"ssl.certificate.location=" + certificate + "\nssl.key.location=" + certificate, "S"},
	} {
		ports := freePorts(t, 2)
		base, address := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
		settings := exactlyOnceSettings(t, brokers, base)
		appendTo(t, settings, fmt.Sprintf("group.id=%[1]s\nconfig.storage.topic=%[1]s-configs\noffset.storage.topic=%[1]s-offsets\nstatus.storage.topic=%[1]s-status\nksql.service.id=%[1]s\n"+
			"ssl.keystore.location=%[2]s\nssl.truststore.location=%[2]s\npgwire.listeners=%[3]s\n%[4]s\n", group, jks, address, tt.more))
		worker := launch(t, "worker", "-c", settings)
		worker.waitHealthy(ctx, base)
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answer := make([]byte, 1)
		if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil { // SSLRequest
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != tt.answer {
			t.Fatalf("%s: asked for TLS, PostgreSQL's clients hear %q: %v", group, answer, err)
		}
		if tt.answer == "S" {
			secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			if err := secure.HandshakeContext(ctx); err != nil || secure.ConnectionState().PeerCertificates[0].Subject.CommonName != "postgres" {
				t.Fatalf("%s: %v", group, err)
			}
		}
	}
}

// TestListenersWithoutCertificates: an error about a certificate names the listener that
// needs it and the setting it comes from.
func TestListenersWithoutCertificates(t *testing.T) {
	jks := javaStore(t)
	for name, tt := range map[string]struct {
		more  string
		wants []string
	}{
		"https, by Kafka's store": {"listeners=https://127.0.0.1:1\nssl.keystore.location=" + jks, []string{"https listener 127.0.0.1:1", "rest.tls   ssl.keystore.location\n", "openssl pkcs12"}},
		"https, by its own":       {"listeners=https://127.0.0.1:1\nlisteners.https.ssl.keystore.location=" + jks, []string{"https listener 127.0.0.1:1", "rest.tls   listeners.https.ssl.keystore.location\n"}},
		"https, trusting a store": {"listeners=https://127.0.0.1:1\nlisteners.https.ssl.keystore.location=" + newNotary(t).sign("rest") + "\nlisteners.https.ssl.truststore.location=" + jks, []string{"https listener 127.0.0.1:1", "rest.tls   listeners.https.ssl.truststore.location\n", "keytool -list -rfc"}},
		"of administrators":       {"admin.listeners=https://127.0.0.1:2\nadmin.listeners.https.ssl.keystore.location=" + jks, []string{"https listener 127.0.0.1:2", "rest.tls   admin.listeners.https.ssl.keystore.location\n"}},
		"of administrators, none": {"admin.listeners=https://127.0.0.1:2\nlisteners.https.ssl.keystore.location=" + jks, []string{"https listener 127.0.0.1:2", "rest.tls   admin.listeners.https.ssl.keystore.location\n"}},
		"PostgreSQL's clients":    {"ksql.service.id=x\npgwire.listeners=127.0.0.1:3\nlisteners.https.ssl.keystore.location=" + jks, []string{"pgwire.listeners", "rest.tls   listeners.https.ssl.keystore.location\n"}},
		"passwords, by Kafka's":   {"ksql.service.id=x\npgwire.listeners=0.0.0.0:3\nrest.basic.auth.users=ann:ann\nssl.keystore.location=" + jks, []string{"in the clear", "listeners.https.ssl.keystore.location"}},
	} {
		settings := exactlyOnceSettings(t, "127.0.0.1:1", "http://127.0.0.1:0")
		appendTo(t, settings, tt.more+"\n")
		_, said, code := tell(t, nil, "", "worker", "-c", settings)
		if code != exitBadInput {
			t.Errorf("%s: %d %s", name, code, said)
		}
		for _, want := range tt.wants {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q is not in %s", name, want, said)
			}
		}
	}
}
