package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
)

// secretsFolder returns a folder with secrets, and a file outside of it.
func secretsFolder(t *testing.T) (dir, outside string) {
	t.Helper()
	dir = t.TempDir()
	outside = write(t, "outside.properties", "pw=never")
	for name, text := range map[string]string{"c.properties": "user=me\npw=file-${x}-pw\n", "token": "dir-token\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.properties")); err != nil {
		t.Fatal(err)
	}
	return dir, outside
}

func declared(dir string) connect.Config {
	p := "org.apache.kafka.common.config.provider."
	return connect.Config{
		"config.providers":                              "file, vars,dir",
		"config.providers.file.class":                   p + "FileConfigProvider",
		"config.providers.file.param.allowed.paths":     dir,
		"config.providers.dir.class":                    p + "DirectoryConfigProvider",
		"config.providers.dir.param.allowed.paths":      dir,
		"config.providers.vars.class":                   p + "EnvVarConfigProvider",
		"config.providers.vars.param.allowlist.pattern": "PG.*",
	}
}

func TestResolve(t *testing.T) {
	dir, _ := secretsFolder(t)
	t.Setenv("PGSECRET", "env-secret")
	t.Setenv("PGHOST", "db.internal")
	r, err := config.NewResolver(declared(dir), config.NewRedactor())
	if err != nil || len(r.Warnings()) != 0 {
		t.Fatal(err, r.Warnings())
	}
	raw := connect.Config{
		"database.password": "${env:PGSECRET}", "host": "${vars:PGHOST}", "sasl.jaas.config": `u="x" p="${file:` + dir + `/c.properties:pw}";`,
		"api.token": "${dir:" + dir + ":token}", "other": "${vault:a:b} ${undeclared} $ {env:X}", "plain": "v",
	}
	got, err := r.Resolve(raw)
	want := connect.Config{
		"database.password": "env-secret", "host": "db.internal", "sasl.jaas.config": `u="x" p="file-${x}-pw";`,
		"api.token": "dir-token", "other": "${vault:a:b} ${undeclared} $ {env:X}", "plain": "v",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	said := r.Redactor().Text("at db.internal with env-secret, file-${x}-pw and dir-token")
	if said != "at db.internal with ********, ******** and ********" {
		t.Error(said)
	}
}

func TestResolveFaults(t *testing.T) {
	dir, outside := secretsFolder(t)
	t.Setenv("TIDEMILL_ADMIN_PASSWORD", "own-secret")
	for _, c := range []struct{ ref, want string }{
		{"${env:NOT_THERE_AT_ALL}", "the variable NOT_THERE_AT_ALL is not set"},
		{"${env:TIDEMILL_ADMIN_PASSWORD}", "is not on the list of allowed ones"},
		{"${vars:HOME}", "is not on the list of allowed ones"},
		{"${vars:x:PGHOST}", "has no path"},
		{"${file:" + dir + "/c.properties:nokey}", "has no key nokey"},
		{"${file:" + outside + ":pw}", "lies outside the allowed paths"},
		{"${file:" + dir + "/../" + filepath.Base(filepath.Dir(outside)) + "/outside.properties:pw}", "lies outside the allowed paths"},
		{"${file:" + dir + "/link.properties:pw}", "escapes"},
		{"${file:" + dir + ":pw}", "is not a regular file"},
		{"${file:c.properties:pw}", "the path must be absolute"},
		{"${file:pw}", "has no path"},
		{"${dir:" + dir + ":../x}", "must be the name of a file"},
		{"${dir:" + dir + ":none}", "no such file"},
	} {
		r, err := config.NewResolver(declared(dir), config.NewRedactor())
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Resolve(connect.Config{"database.password": c.ref})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "config.secret: database.password: the reference "+c.ref) {
			t.Errorf("%s: %v", c.ref, err)
		}
		if err != nil && (strings.Contains(err.Error(), "never") || strings.Contains(err.Error(), "own-secret")) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func TestUndeclaredProvidersReadOnlySecretFolders(t *testing.T) {
	r, err := config.NewResolver(nil, config.NewRedactor())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve(connect.Config{"x": "${file:/etc/passwd:root}"}); err == nil || !strings.Contains(err.Error(), "outside the allowed paths /run/secrets") {
		t.Error(err)
	}
}

func TestDeclarations(t *testing.T) {
	_, err := config.NewResolver(connect.Config{"config.providers": "a,b,c", "config.providers.a.class": "com.x.VaultProvider",
		"config.providers.b.class": "FileConfigProvider", "config.providers.b.param.allowed.paths": "rel/ative",
		"config.providers.c.class": "EnvVarConfigProvider", "config.providers.c.param.allowlist.pattern": "("}, config.NewRedactor())
	for _, want := range []string{`config.provider_class: config.providers.a.class: there is no config provider of the class "com.x.VaultProvider"`, "rel/ative is not an absolute path", "missing closing )"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
	_, outside := secretsFolder(t)
	r, err := config.NewResolver(connect.Config{"config.providers": "file", "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider"}, config.NewRedactor())
	if err != nil || len(r.Warnings()) != 1 {
		t.Fatal(err, r.Warnings())
	}
	if got, err := r.Resolve(connect.Config{"x": "${file:" + outside + ":pw}"}); err != nil || got["x"] != "never" {
		t.Error(got, err)
	}
}

func TestIsSecret(t *testing.T) {
	for _, key := range []string{"database.password", "producer.override.sasl.jaas.config", "basic.auth.user.info", "aws.secret.access.key", "awsAccessKey", "api_key",
		"ssl.keystore.key", "ssl.key.password", "oauth.token", "connection.PASSWORD", "header.Authorization", "passphrase"} {
		if !config.IsSecret(key) {
			t.Errorf("%s is a secret", key)
		}
	}
	for _, key := range []string{"key.converter", "message.key.columns", "sasl.oauthbearer.token.endpoint.url", "basic.auth.credentials.source", "tokenizer", "database.user",
		"table.include.list", "password.file", "tombstones.on.delete", "bypass", "key"} {
		if config.IsSecret(key) {
			t.Errorf("%s is no secret", key)
		}
	}
}

func TestMaskAndUnmask(t *testing.T) {
	def := connect.NewConfigDef(connect.ConfigKey{Name: "odd", Type: connect.TypePassword, Optional: true})
	stored := connect.Config{"database.password": "hunter2", "odd": "x", "url": "jdbc:postgresql://me:pw@db/shop?sslmode=require&password=abc", "ref.password": "${env:PW}",
		"partly": "postgres://me:${env:PW}@db", "headers": "Authorization: Bearer abc.def", "empty.password": "", "name": "c"}
	read := config.Mask(stored, def)
	want := connect.Config{"database.password": "********", "odd": "********", "url": "jdbc:postgresql://me:********@db/shop?sslmode=require&password=********", "ref.password": "${env:PW}",
		"partly": "postgres://me:${env:PW}@db", "headers": "Authorization: Bearer ********", "empty.password": "", "name": "c"}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Fatal(diff)
	}
	read["name"] = "changed"
	written, err := config.Unmask(read, stored, def)
	stored["name"] = "changed"
	if diff := cmp.Diff(stored, written); err != nil || diff != "" {
		t.Error(err, diff)
	}
	_, err = config.Unmask(connect.Config{"database.password": "********", "u": "http://a:********@b", "text": "see ********"}, nil, def)
	if got := len(config.Faults(err)); got != 2 || connect.AsError(err).Code != "config.masked" {
		t.Error(err)
	}
}

func TestRedactor(t *testing.T) {
	r := config.NewRedactor()
	r.AddConfig(connect.Config{"user": "postgres", "password": "postgres", "a.password": "s3cr+t/\"x", "short.password": "abc", "b.password": "s3cr+t/\"xlonger"}, nil)
	for in, want := range map[string]string{
		"postgres is down":                       "postgres is down",
		`dial s3cr+t/"x failed`:                  "dial ******** failed",
		`json "s3cr+t/\"x"`:                      `json "********"`,
		"url s3cr%2Bt%2F%22x":                    "url ********",
		`both s3cr+t/"xlonger`:                   "both ********",
		"postgres://me:else@db password=zzz,x=1": "postgres://me:********@db password=********,x=1",
		"abc":                                    "abc",
	} {
		if got := r.Text(in); got != want {
			t.Errorf("%s became %s", in, got)
		}
	}
}

func TestRedactedErrorsAndLogs(t *testing.T) {
	r := config.NewRedactor()
	r.Add("hunter22")
	cause := errors.New("auth with hunter22 failed")
	err := r.Error(fmt.Errorf("starting: %w", &connect.Error{Code: "pg.auth", Class: connect.ClassFatal, Message: "no", Cause: cause}))
	if e := connect.AsError(err); e.Code != "pg.auth" || strings.Contains(err.Error(), "hunter22") || errors.Is(err, cause) {
		t.Error(err)
	}
	if harmless := errors.New("fine"); r.Error(harmless) != harmless || r.Error(nil) != nil {
		t.Error("a harmless error must stay as it is")
	}
	var b bytes.Buffer
	log := slog.New(r.Handler(slog.NewTextHandler(&b, nil))).With("dsn", "postgres://a:zzz@b").WithGroup("g")
	log.Info("hunter22 seen", "err", cause, "password", "plain", "n", 5, slog.Group("in", "x", "hunter22"), "cfg", map[string]string{"k": "hunter22"})
	if out := b.String(); strings.Contains(out, "hunter22") || strings.Contains(out, "zzz") || strings.Contains(out, "plain") || !strings.Contains(out, "g.n=5") {
		t.Error(out)
	}
}
