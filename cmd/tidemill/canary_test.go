package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/tidemill/tidemill/internal/devstack"
)

// canaries are the secrets of the test, one for each way in, so that one that is found
// tells where it came from.
type canaries struct {
	all map[string]string // By where they go in.
	// places are where each was found: whose words they are, and which.
	places map[string][]string
}

// secret returns the one for a way in. Its letters stand in no other text.
func (c *canaries) secret(way string) string {
	if c.all[way] == "" {
		c.all[way] = fmt.Sprintf("kanari%02dqz/x+%s", len(c.all), strings.ReplaceAll(way, " ", "-"))
	}
	return c.all[way]
}

// look searches a text that somebody could see.
func (c *canaries) look(place string, text []byte) {
	for way, secret := range c.all {
		quoted, _ := json.Marshal(secret)
		for _, form := range []string{
			secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)),
			secret[:len("kanari00qz")], // What is left when a part of it is hidden.
		} {
			if bytes.Contains(text, []byte(form)) {
				c.places[way] = append(c.places[way], place)
				break
			}
		}
	}
}

// lookout speaks to a worker and has every answer looked through.
type lookout struct {
	t    *testing.T
	c    *canaries
	base string
	user string
	key  string
}

func (l *lookout) ask(ctx context.Context, method, path, body string) (int, string) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, l.base+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.SetBasicAuth(l.user, l.key)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var seen bytes.Buffer
	_ = resp.Header.Write(&seen)
	_, _ = io.Copy(&seen, resp.Body)
	path, _, _ = strings.Cut(path, "?")
	l.c.look("the answer to "+method+" "+path, seen.Bytes())
	return resp.StatusCode, seen.String()
}

// TestSecretsStayInside gives a worker secrets in every way there is, runs it, breaks it,
// and then looks for them in all that others can see: logs, answers, topics, figures and
// files.
func TestSecretsStayInside(t *testing.T) {
	ctx := timeout(t, 7*time.Minute)
	c := &canaries{all: map[string]string{}, places: map[string][]string{}}
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Password: c.secret("database by file")})
	execAll(t, pg.DSN("postgres"), "CREATE TABLE ledger (id int PRIMARY KEY); INSERT INTO ledger VALUES (1)")
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1), kfake.Superuser("SCRAM-SHA-512", "worker", c.secret("jaas")))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	dir := t.TempDir()
	port := freePorts(t, 1)[0]
	l := &lookout{t: t, c: c, base: fmt.Sprintf("http://127.0.0.1:%d", port), user: "ann", key: c.secret("login")}
	t.Setenv("CANARY_VARIABLE", c.secret("variable"))
	worker := launch(t, "worker", "-v", "-c", canarySettings(t, c, dir, kafka.ListenAddrs()[0], l.base))
	err = until(ctx, "the worker to be healthy", func() (bool, error) {
		r, _ := http.NewRequest("GET", l.base+"/health", nil)
		r.SetBasicAuth(l.user, l.key)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return false, nil
		}
		resp.Body.Close()
		return resp.StatusCode == 200, nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, worker.stderr.String())
	}
	canaryRun(ctx, l, pg, dir)

	// What others can see.
	opts := []kgo.Opt{kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.SASL(scram.Auth{User: "worker", Pass: c.all["jaas"]}.AsSha512Mechanism())}
	records := canaryTopics(ctx, t, c, opts)
	worker.kill()
	c.look("the log", []byte(worker.stderr.String()))
	files := canaryFiles(t, c, dir)
	if records < 10 || files < 1 || len(worker.stderr.String()) < 1000 {
		t.Errorf("only %d records, %d files and %d bytes of log were looked through", records, files, len(worker.stderr.String()))
	}
	for way, places := range c.places {
		for _, place := range places {
			// As in Kafka Connect, what is written into a connector's configuration itself stands
			// in the topic of configurations; references do not become what they stand for there.
			if written := strings.HasPrefix(way, "written"); !written || place != "topic canary-configs" {
				t.Errorf("the secret %q is in %s", way, place)
			}
		}
	}
	if len(c.places["written password"]) == 0 {
		t.Error("nothing is found even where it has to be: does the search work?")
	}
}

// canarySettings writes the worker's settings with secrets wherever they may stand.
func canarySettings(t *testing.T, c *canaries, dir, broker, base string) string {
	t.Helper()
	secrets := filepath.Join(dir, "secrets")
	if err := os.Mkdir(secrets, 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"db.properties": "password=" + c.secret("database by file") + "\njaas=" + c.secret("jaas") + "\nsink=" + c.secret("sink by file") + "\nlogin=ann:" + c.secret("login") + "\n",
		"whole":         c.secret("whole file") + "\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := exactlyOnceSettings(t, broker, base)
	f, err := os.OpenFile(text, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	settings := map[string]string{
		"group.id": "canary", "config.storage.topic": "canary-configs", "offset.storage.topic": "canary-offsets", "status.storage.topic": "canary-status",
		"offset.storage.partitions": "1", "status.storage.partitions": "1", "exactly.once.source.support": "disabled",
		"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512",
		"sasl.jaas.config":      `org.apache.kafka.common.security.scram.ScramLoginModule required username="worker" password="${file:` + secrets + `/db.properties:jaas}";`,
		"rest.basic.auth.users": "${file:" + secrets + "/db.properties:login}",
		"rest.audit.file":       filepath.Join(dir, "audit.log"),
		"config.providers":      "file,dir,vars", "config.providers.file.class": "FileConfigProvider", "config.providers.file.param.allowed.paths": secrets,
		"config.providers.dir.class": "DirectoryConfigProvider", "config.providers.dir.param.allowed.paths": secrets,
		"config.providers.vars.class": "EnvVarConfigProvider", "config.providers.vars.param.allowlist.pattern": "CANARY_.*",
		"ksql.service.id": "canary_", "ksql.streams.state.dir": filepath.Join(dir, "state"), "ksql.internal.secret": c.secret("secret of SQL"),
		"plugin.state.dir":        filepath.Join(dir, "plugins"),
		"ssl.key.password":        c.secret("setting that nobody reads"),
		"somebody.elses.password": c.secret("setting that is not known"),
	}
	for name, value := range settings {
		if _, err := fmt.Fprintf(f, "%s=%s\n", name, strings.ReplaceAll(value, `\`, `\\`)); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

// canaryRun sends secrets in every request that may hold one, also in those that fail.
func canaryRun(ctx context.Context, l *lookout, pg *devstack.Postgres, dir string) {
	t, c := l.t, l.c
	t.Helper()
	config := func(change ...string) map[string]string {
		one := debeziumConfig(t, pg.DSN("postgres"))
		for i := 0; i < len(change); i += 2 {
			one[change[i]] = change[i+1]
		}
		return one
	}
	send := func(method, path string, body any, want ...int) string {
		t.Helper()
		text, isText := body.(string)
		if !isText {
			data, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			text = string(data)
		}
		status, said := l.ask(ctx, method, path, text)
		for _, one := range want {
			if status == one {
				return said
			}
		}
		if len(want) > 0 {
			t.Errorf("%s %s: %d %s", method, path, status, said)
		}
		return said
	}
	file := "${file:" + dir + "/secrets/db.properties:"
	good := config("database.password", file+"password}", "slot.name", "good", "topic.prefix", "good",
		"transforms", "t", "transforms.t.type", "org.apache.kafka.connect.transforms.InsertField$Value", "transforms.t.static.field", "f", "transforms.t.static.value", "v")
	send("PUT", "/connectors/good/config", good, 201)
	execAll(t, pg.DSN("postgres"), "CREATE ROLE written LOGIN REPLICATION SUPERUSER PASSWORD '"+c.secret("written password")+"'")
	send("PUT", "/connectors/literal/config", config("database.user", "written", "database.password", c.secret("written password"), "slot.name", "literal", "topic.prefix", "literal"), 201)
	if t.Failed() {
		t.FailNow()
	}
	// What is refused, or fails, tells nothing either.
	send("PUT", "/connectors/wrong/config", config("database.password", c.secret("wrong password"), "slot.name", "wrong"), 400)
	send("PUT", "/connectors/wrong/config", config("database.password", "${vars:CANARY_VARIABLE}", "slot.name", "wrong"), 400)
	send("PUT", "/connectors/wrong/config", config("database.password", "${dir:"+dir+"/secrets:whole}", "slot.name", "wrong"), 400)
	send("PUT", "/connectors/wrong/config", config("pasword", c.secret("misspelt setting"), "databse.password", c.secret("misspelt name")), 400)
	send("PUT", "/connectors/wrong/config", map[string]string{"connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector", "topics": "good.public.ledger",
		"connection.url": "jdbc:postgresql://127.0.0.1:1/x?user=u&password=" + url.QueryEscape(c.secret("password in a URL")), "connection.username": "u", "connection.password": file + "sink}"}, 400)
	send("PUT", "/connector-plugins/PostgresConnector/config/validate", config("name", "v", "database.password", c.secret("password to validate")), 200)
	send("POST", "/connectors", `{"name":"x","config":{"database.password":"`+c.secret("malformed JSON")+`" "x"}}`, 400, 500)
	send("POST", "/connectors", `{"name":"x","config":{"database.password":["`+c.secret("list for a text")+`"]}}`, 400, 500)
	send("POST", "/connectors", `{"name":"x","config":{"connector.class":"Nobody","x.password":"`+c.secret("unknown class")+`"}}`, 400, 500)
	send("PATCH", "/connectors/good/config", map[string]string{"database.password": c.secret("wrong patch")}, 400)
	send("POST", "/ksql", map[string]string{"ksql": "CREATE SOURCE CONNECTOR s WITH ('connector.class'='io.debezium.connector.postgresql.PostgresConnector', 'database.password'='" + c.secret("SQL") + "');"})
	send("POST", "/ksql", map[string]string{"ksql": "CREATE SOURCE CONNECTOR s WITH ('database.password'='" + c.secret("broken SQL") + "' 'x';"})
	send("GET", "/connectors?password="+url.QueryEscape(c.secret("query")), "", 200)
	wrong := &lookout{t: t, c: c, base: l.base, user: "ann", key: c.secret("wrong login")}
	if status, _ := wrong.ask(ctx, "GET", "/connectors", ""); status != 401 {
		t.Errorf("a wrong login: %d", status)
	}
	for _, name := range []string{"good", "literal"} {
		soon, cancel := context.WithTimeout(ctx, 2*time.Minute)
		err := until(soon, name+" to run", func() (bool, error) {
			status, said := l.ask(ctx, "GET", "/connectors/"+name+"/status", "")
			return status == 200 && strings.Count(said, `"RUNNING"`) == 2, nil
		})
		cancel()
		if err != nil {
			t.Fatal(err, send("GET", "/connectors/"+name+"/status", ""))
		}
		for _, path := range []string{"", "/config", "/status", "/tasks", "/tasks-config", "/offsets", "/offsets/history", "/details", "/topics", "/logs", "/peek", "/tasks/0/status"} {
			send("GET", "/connectors/"+name+path, "", 200)
		}
	}
	// A connection that is cut is spoken of in the log.
	execAll(t, pg.DSN("postgres"), "INSERT INTO ledger VALUES (2);\nSELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
	for _, path := range []string{"/", "/connectors?expand=info&expand=status", "/connector-plugins", "/metrics", "/admin/loggers", "/openapi.json", "/info", "/streams/v1/applications"} {
		send("GET", path, "", 200)
	}
	send("PUT", "/connectors/good/pause", "", 202)
	send("PUT", "/connectors/good/stop", "", 204)
	send("DELETE", "/connectors/literal", "", 204, 200)
}

// canaryTopics looks through every record there is, and returns how many that were.
func canaryTopics(ctx context.Context, t *testing.T, c *canaries, opts []kgo.Opt) (seen int) {
	t.Helper()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[fmt.Sprint(o.Topic, " ", o.Partition)] = o.Offset
		}
	})
	reader, err := kgo.NewClient(append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics(".*"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())...)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for len(left) > 0 {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("of %v nothing is read", left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen++
			place := "topic " + r.Topic
			c.look(place, r.Key)
			c.look(place, r.Value)
			for _, h := range r.Headers {
				c.look(place, append([]byte(h.Key+" "), h.Value...))
			}
			if at := fmt.Sprint(r.Topic, " ", r.Partition); r.Offset+1 >= left[at] {
				delete(left, at)
			}
		})
	}
	return seen
}

// canaryFiles looks through what the worker has left on the disk.
func canaryFiles(t *testing.T, c *canaries, dir string) (seen int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(path)) == "secrets" {
			return err
		}
		text, err := os.ReadFile(path)
		c.look("the file "+filepath.Base(path), text)
		seen++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
