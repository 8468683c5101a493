package pgwire_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// certificate makes one for 127.0.0.1 that signs itself, and the file in which clients trust it.
func certificate(t *testing.T) (config *tls.Config, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "worker"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, file
}

// Users of the REST interface log in with their passwords, over TLS too, and may do what
// their roles say; the audit log tells of it.
func TestLogin(t *testing.T) {
	engine := openEngine(t)
	o := options(t, engine, connect.Config{"rest.basic.auth.users": "ann:secret1,bob:secret2,eve:secret3", "rest.roles": "ann=admin; bob=viewer"})
	var root string
	o.TLS, root = certificate(t)
	var lines bytes.Buffer
	o.Audit = slog.New(slog.NewTextHandler(&lines, nil))
	host, port := serve(t, o)
	ask := func(user, password, mode, statement string) string {
		t.Helper()
		return strings.TrimSpace(psql(t, []string{"PGUSER=" + user, "PGPASSWORD=" + password, "PGSSLMODE=" + mode, "PGSSLROOTCERT=" + root}, "-h", host, "-p", port, "-At", "-c", statement))
	}
	create := "CREATE STREAM s (k STRING KEY, n INT) WITH (KAFKA_TOPIC='pgwire_login', FORMAT='JSON', PARTITIONS=1)"
	for _, c := range []struct{ user, password, mode, statement, want string }{
		{"ann", "secret1", "verify-full", create, "CREATE STREAM"},
		{"ann", "secret1", "disable", "SELECT current_user", "ann"},
		{"ann", "secret2", "require", "SELECT 1", `FATAL:  password authentication failed for user "ann"`},
		{"nobody", "secret1", "require", "SELECT 1", `FATAL:  password authentication failed for user "nobody"`},
		{"bob", "secret2", "require", "SELECT k FROM s WHERE k = 'x'", ""},
		{"bob", "secret2", "require", "DROP STREAM s", "ERROR:  this needs the role admin"},
		{"bob", "secret2", "require", "SHOW STREAMS", "ERROR:  this needs the role admin"},
		{"eve", "secret3", "require", "SELECT k FROM s", "ERROR:  this needs the role viewer"},
	} {
		got := ask(c.user, c.password, c.mode, c.statement)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s, %s: %s gives %q, and should %q", c.user, c.mode, c.statement, got, c.want)
		}
		if strings.Contains(got, "secret") {
			t.Errorf("%s: a password is in %q", c.statement, got)
		}
	}
	text := lines.String()
	for _, want := range []string{
		`action=pgwire outcome=done user=ann how=basic`, `statement="CREATE STREAM"`, `outcome=refused user=bob how=basic`, `statement="DROP STREAM" reason="the role does not allow it"`,
		`outcome=refused user=nobody how=""`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the audit log lacks %s:\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") || strings.Contains(text, "pgwire_login") {
		t.Errorf("the audit log tells too much:\n%s", text)
	}
}

// Without a certificate a client that insists on TLS is told so, and one that would like it
// goes on without.
func TestNoTLS(t *testing.T) {
	host, port := serve(t, options(t, waiting{}, nil))
	if got := psql(t, []string{"PGSSLMODE=require"}, "-h", host, "-p", port, "-c", "SELECT 1"); !strings.Contains(got, "server does not support SSL, but SSL was required") {
		t.Error(got)
	}
	if got := psql(t, []string{"PGSSLMODE=prefer"}, "-h", host, "-p", port, "-At", "-c", "SELECT 1"); got != "1\n" {
		t.Error(got)
	}
}
