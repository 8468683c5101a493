package postgres

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// authority signs certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{}
	a.cert, a.key, a.pem = issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, time.Now().Add(time.Hour))
	return a
}

// issue makes a certificate, signed by the authority or by itself.
func issue(t *testing.T, c *x509.Certificate, by *authority, until time.Time) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-2*time.Hour), until
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// secured is a server with TLS and a login of every kind.
type secured struct {
	*testDB
	pg    *devstack.Postgres
	dir   string // Of files for the client.
	ca    *authority
	owner int // Of the server's files.
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{pg: devstack.NewTestPostgres(t, devstack.PostgresOptions{}), dir: t.TempDir(), ca: newAuthority(t, "ca")}
	s.testDB = openTestDB(t, s.pg.DSN("postgres"))
	if info, err := os.Stat(s.server("")); err == nil {
		s.owner = int(info.Sys().(*syscall.Stat_t).Uid)
	}
	s.client("root.crt", s.ca.pem)
	s.client("other.crt", newAuthority(t, "other").pem)
	s.present(t, time.Now().Add(time.Hour))
	s.give(t, "root.crt", s.ca.pem)
	s.exec("CREATE TABLE a (id int PRIMARY KEY); SET password_encryption = 'scram-sha-256'")
	for _, role := range []string{"secured", "plain", "refused", "certified"} {
		s.exec("CREATE ROLE " + role + " LOGIN SUPERUSER PASSWORD 'Canary-" + role + "'")
	}
	s.give(t, "pg_hba.conf", []byte(`hostssl all secured 127.0.0.1/32 scram-sha-256
host all plain 127.0.0.1/32 scram-sha-256
hostssl all certified 127.0.0.1/32 cert
host all refused 127.0.0.1/32 reject
host all postgres 127.0.0.1/32 trust
`))
	s.exec("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
	s.exec("ALTER SYSTEM SET ssl = on")
	s.reload()
	return s
}

func (s *secured) server(name string) string { return filepath.Join(s.pg.Dir(), "data", name) }

// give writes a file of the server.
func (s *secured) give(t *testing.T, name string, text []byte) {
	t.Helper()
	err := os.WriteFile(s.server(name), text, 0o600)
	if err == nil && os.Getuid() == 0 {
		err = os.Chown(s.server(name), s.owner, s.owner)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// client writes a file of the client and returns its path.
func (s *secured) client(name string, text []byte) string {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.tb.Fatal(err)
	}
	return path
}

// present gives the server a certificate for 127.0.0.1.
func (s *secured) present(t *testing.T, until time.Time) {
	_, key, text := issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, s.ca, until)
	s.give(t, "server.crt", text)
	s.give(t, "server.key", keyPEM(t, key))
}

func (s *secured) reload() {
	s.exec("SELECT pg_reload_conf()")
	eventually(s.tb, "the server takes it up", func() bool {
		conn, err := mustSettings(s.tb.(*testing.T), s.config("database.sslmode", "require")).open(context.Background(), "looker")
		if err == nil {
			conn.close(context.Background())
		}
		return err == nil
	})
}

func keyPEM(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER(t, key)})
}

func keyDER(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// encrypt is the opposite of decryptKey: PBES2 with PBKDF2, HMAC-SHA-256 and AES-256.
func encrypt(t *testing.T, der []byte, password string) []byte {
	t.Helper()
	salt, iv := []byte("12345678"), bytes.Repeat([]byte{7}, 16)
	key, err := pbkdf2.Key(sha256.New, password, salt, 2048, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	n := 16 - len(der)%16
	padded := append(bytes.Clone(der), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	raw := func(v any) asn1.RawValue {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: b}
	}
	hmacSHA256 := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue}
	return raw(encryptedKey{Data: padded, Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidPBES2, Parameters: raw(pbes2{
		Derivation: pkix.AlgorithmIdentifier{Algorithm: oidPBKDF2, Parameters: raw(pbkdf2Params{Salt: salt, Iterations: 2048, PRF: hmacSHA256})},
		Encryption: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, Parameters: raw(iv)},
	})}}).FullBytes
}

// TestTLSAndLogins tries every sslmode, certificate and login over both kinds of
// connection. No error holds a password.
func TestTLSAndLogins(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	_, key, cert := issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "certified"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, s.ca, time.Now().Add(time.Hour))
	_, otherKey, _ := issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "certified"}}, s.ca, time.Now().Add(time.Hour))
	legacy, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", ecDER(t, key), []byte("Canary-key"), x509.PEMCipherAES256) //nolint:staticcheck // It is in use.
	if err != nil {
		t.Fatal(err)
	}
	crt := s.client("c.crt", cert)
	root, other := filepath.Join(s.dir, "root.crt"), filepath.Join(s.dir, "other.crt")
	pem8 := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: encrypt(t, keyDER(t, key), "Canary-key")})
	for name, c := range map[string]struct {
		user string
		set  []string
		code string // Of the error, "" for none.
		says string
	}{
		"no encryption where it is asked for": {"secured", []string{"database.sslmode", "disable"}, "pg.auth", "database.sslmode=require"},
		"allow":                               {"secured", []string{"database.sslmode", "allow"}, "", ""},
		"prefer":                              {"secured", []string{"database.sslmode", "prefer"}, "", ""},
		"require":                             {"secured", []string{"database.sslmode", "require"}, "", ""},
		"require with another root":           {"secured", []string{"database.sslmode", "require", "database.sslrootcert", other}, "pg.tls", "database.sslrootcert"},
		"verify-ca":                           {"secured", []string{"database.sslmode", "verify-ca", "database.sslrootcert", root}, "", ""},
		"verify-ca with another root":         {"secured", []string{"database.sslmode", "verify-ca", "database.sslrootcert", other}, "pg.tls", "unknown authority"},
		"verify-full":                         {"secured", []string{"database.sslmode", "verify-full", "database.sslrootcert", root}, "", ""},
		"verify-full of another name":         {"secured", []string{"database.sslmode", "verify-full", "database.sslrootcert", root, "database.hostname", "localhost"}, "pg.tls", "localhost"},
		"verify-ca of another name":           {"secured", []string{"database.sslmode", "verify-ca", "database.sslrootcert", root, "database.hostname", "localhost"}, "", ""},
		"no file of roots":                    {"secured", []string{"database.sslmode", "verify-ca", "database.sslrootcert", root + "x"}, "pg.config", "root.crtx"},
		"as the driver has it":                {"secured", []string{"driver.sslmode", "verify-full", "driver.sslrootcert", root}, "", ""},
		"channel binding":                     {"secured", []string{"database.sslmode", "require", "driver.channelBinding", "require"}, "", ""},
		"channel binding without encryption":  {"plain", []string{"database.sslmode", "disable", "driver.channelBinding", "require"}, "pg.auth", "channel binding"},
		"SCRAM without encryption":            {"plain", []string{"database.sslmode", "disable"}, "", ""},
		"wrong password":                      {"plain", []string{"database.password", "Canary-wrong"}, "pg.auth", "database.password"},
		"no password":                         {"plain", []string{"database.password", ""}, "pg.auth", "database.password"},
		"refused by pg_hba.conf":              {"refused", nil, "pg.auth", "pg_hba.conf"},
		"no such user":                        {"nobody", nil, "pg.auth", "pg_hba.conf"},
		"certificate":                         {"certified", []string{"database.sslmode", "require", "database.sslcert", crt, "database.sslkey", s.client("k.pem", keyPEM(t, key))}, "", ""},
		"key of PKCS #8 in DER":               {"certified", []string{"database.sslmode", "prefer", "database.sslcert", crt, "database.sslkey", s.client("k.pk8", keyDER(t, key))}, "", ""},
		"encrypted key":                       {"certified", []string{"database.sslmode", "require", "database.sslcert", crt, "database.sslkey", s.client("ke.pem", pem8), "database.sslpassword", "Canary-key"}, "", ""},
		"encrypted key in DER":                {"certified", []string{"database.sslmode", "require", "database.sslcert", crt, "database.sslkey", s.client("ke.pk8", encrypt(t, keyDER(t, key), "Canary-key")), "database.sslpassword", "Canary-key"}, "", ""},
		"key encrypted in the old way":        {"certified", []string{"database.sslmode", "require", "database.sslcert", crt, "database.sslkey", s.client("old.pem", pem.EncodeToMemory(legacy)), "database.sslpassword", "Canary-key"}, "", ""},
		"wrong password of the key":           {"certified", []string{"database.sslmode", "require", "database.sslcert", crt, "database.sslkey", s.client("kw.pem", pem8), "database.sslpassword", "Canary-no"}, "pg.tls.certificate", "database.sslpassword"},
		"key of another certificate":          {"certified", []string{"database.sslmode", "require", "database.sslcert", crt, "database.sslkey", s.client("ko.pem", keyPEM(t, otherKey))}, "pg.tls.certificate", "do not go together"},
		"no certificate":                      {"certified", []string{"database.sslmode", "require"}, "pg.auth", "database.sslcert"},
		"half a certificate":                  {"certified", []string{"database.sslmode", "require", "database.sslcert", crt}, "pg.tls.certificate", "database.sslkey"},
		"no file of the key":                  {"certified", []string{"database.sslmode", "require", "database.sslcert", crt, "database.sslkey", crt + "x"}, "pg.tls.certificate", "database.sslkey"},
		"no key at all":                       {"certified", []string{"database.sslmode", "require", "database.sslcert", crt, "database.sslkey", s.client("no.pem", []byte("nothing"))}, "pg.tls.certificate", "PKCS #8"},
	} {
		t.Run(name, func(t *testing.T) {
			config := s.config(append([]string{"database.user", c.user, "database.password", "Canary-" + c.user}, c.set...)...)
			set := mustSettings(t, config)
			for _, replication := range []bool{false, true} {
				conn, err := set.connect(context.Background(), "test", replication)
				if err == nil {
					_ = conn.Close(context.Background())
				}
				switch e := connect.AsError(err); {
				case c.code == "" && err != nil:
					t.Errorf("it fails with %v", err)
				case c.code != "" && (err == nil || e.Code != c.code || e.Class != connect.ClassFatal || !strings.Contains(e.Error(), c.says)):
					t.Errorf("it fails with %v", err)
				case err != nil && strings.Contains(e.Error(), "Canary"):
					t.Errorf("the error holds a password: %v", err)
				}
			}
			for _, f := range findingsOf(t, config) {
				if strings.Contains(f.sentence(), "Canary") {
					t.Errorf("a finding holds a password: %+v", f)
				}
			}
		})
	}
	s.present(t, time.Now().Add(-time.Hour))
	s.reload()
	for mode, code := range map[string]string{"verify-ca": "pg.tls", "require": ""} {
		set := mustSettings(t, s.config("database.user", "secured", "database.password", "Canary-secured", "database.sslmode", mode))
		if mode == "verify-ca" {
			set.ssl["sslrootcert"] = root
		}
		if conn, err := set.open(context.Background(), "test"); err == nil && code == "" {
			conn.close(context.Background())
		} else if err == nil || connect.AsError(err).Code != code {
			t.Errorf("of an expired certificate sslmode=%s says %v", mode, err)
		}
	}
}

func findingsOf(t *testing.T, config connect.Config) []Finding {
	t.Helper()
	list, err := Diagnose(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func ecDER(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestWrongPasswordIsTriedOnce counts what reaches the server: a task that may not log
// in fails at once and does not hammer, at its start and when the password was
// changed under it.
func TestWrongPasswordIsTriedOnce(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	attempts := func() int {
		text, err := os.ReadFile(s.pg.LogFile())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "password authentication failed")
	}
	err := failure(t, s.config("database.user", "plain", "database.password", "Canary-wrong"), &connecttest.Offsets{})
	if err.Code != "pg.auth" || strings.Contains(err.Error(), "Canary") || attempts() != 1 {
		t.Errorf("after %d attempts it fails with %v", attempts(), err)
	}
	run := s.start(&connecttest.Offsets{}, "snapshot.mode", "no_data", "database.user", "plain", "database.password", "Canary-plain")
	s.streaming()
	s.exec("ALTER ROLE plain PASSWORD 'Canary-new'")
	s.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plain'")
	eventually(t, "the task fails", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := run.Task.Poll(ctx)
		e := connect.AsError(err)
		return err != nil && e.Class == connect.ClassFatal && e.Code == "pg.auth" && !strings.Contains(e.Error(), "Canary")
	})
	if n := attempts(); n > 3 {
		t.Errorf("there were %d attempts", n)
	}
}

// TestChangedPasswordIsReadAgain changes the password at the server while the task
// runs, and where the configuration refers to it: the task goes on by itself, with a
// few attempts at most.
func TestChangedPasswordIsReadAgain(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := s.config("snapshot.mode", "no_data", "database.user", "plain", "database.password", "Canary-plain")
	task := Plugin().New().NewTask()
	defer func() {
		if err := task.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	refreshed := 0
	env := connect.SourceTaskEnv{Connector: "test", Config: config, StoredOffset: (&connecttest.Offsets{}).Get, StateDir: t.TempDir(), Refresh: func() (connect.Config, error) {
		// The first time the secret's file is not renewed yet.
		if refreshed++; refreshed > 1 {
			config["database.password"] = "Canary-new"
		}
		return config, nil
	}}
	if err := task.Start(ctx, env); err != nil {
		t.Fatal(err)
	}
	s.streaming()
	s.exec("ALTER ROLE plain PASSWORD 'Canary-new'")
	s.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plain'")
	s.exec("INSERT INTO a VALUES (1)")
	for {
		records, err := task.Poll(ctx)
		if err != nil && (connect.AsError(err).Class != connect.ClassRetriable || strings.Contains(err.Error(), "Canary")) || ctx.Err() != nil {
			t.Fatalf("it does not go on: %v", err)
		}
		if len(records) > 0 && records[0].Topic != "" {
			break
		}
	}
	if refreshed != 2 {
		t.Errorf("the secrets were read %d times", refreshed)
	}
}
