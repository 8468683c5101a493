package postgres

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

func TestURLs(t *testing.T) {
	for _, c := range []struct{ url, says string }{
		{"postgres://h/db", ""},
		{"postgresql://u:p@h:5433/db?sslmode=disable", ""},
		{"jdbc:postgresql://h:5432/db?user=u&password=p&ssl=true&currentSchema=s&ApplicationName=x&reWriteBatchedInserts=true", ""},
		{"jdbc:postgresql://h1:1,h2:2/db?targetServerType=primary&loginTimeout=5", ""},
		{"jdbc:mysql://h/db", "only PostgreSQL"},
		{"jdbc:postgresql:db", "expected"},
		{"h:5432/db", "expected"},
		{"postgres:///db", "names no host"},
		{"postgres:///db?host=/var/run/postgresql", "names no host"},
		{"postgres://h/db?host=/tmp", "host is not allowed"},
		{"postgres://h/db?service=x", "service is not allowed"},
		{"postgres://h/db?passfile=/etc/passwd", "passfile is not allowed"},
		{"postgres://h/db?sslkey=/etc/key", "sslkey is not allowed"},
		{"jdbc:postgresql://h/db?socketFactory=x", "socketFactory"},
		{"postgres://u:sec%ret@h/db", "expected"},
	} {
		err := checkURL(c.url)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v; want %q", c.url, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "sec") && c.says == "expected" {
			t.Errorf("the error repeats the URL: %v", err)
		}
	}
}

func TestConnectionSettings(t *testing.T) {
	t.Setenv("PGPASSWORD", "")
	_, s, err := parse(ours(), connect.Config{
		keyURL: "jdbc:postgresql://db.example:5433/shop?currentSchema=sales&user=ignored&ApplicationName=app", "connection.user": "u", keyPassword: "p w",
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := connConfig(s, "name")
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "db.example" || c.Port != 5433 || c.Database != "shop" || c.User != "u" || c.Password != "p w" ||
		c.RuntimeParams["search_path"] != "sales" || c.RuntimeParams["application_name"] != "app" || c.RuntimeParams["TimeZone"] != "UTC" {
		t.Errorf("%s:%d/%s as %s, %v", c.Host, c.Port, c.Database, c.User, c.RuntimeParams)
	}
}

// TestForeignConfigurations reads configurations written for other connectors.
func TestForeignConfigurations(t *testing.T) {
	for _, c := range []struct {
		class string
		text  string
		want  options
	}{
		{"io.debezium.connector.jdbc.JdbcSinkConnector", `{"connection.url":"jdbc:postgresql://h/db","connection.username":"u","connection.password":"p",
			"insert.mode":"upsert","delete.enabled":"true","primary.key.mode":"record_key","primary.key.fields":"id","schema.evolution":"basic",
			"use.time.zone":"UTC","collection.name.format":"${topic}","batch.size":"500","use.reduction.buffer":"true","truncate.enabled":"true"}`,
			options{upsert: true, deletes: true, truncates: true, create: true, evolve: true, pkMode: "record_key", pkFields: []string{"id"}, format: "${topic}", batchSize: 500}},
		{"io.confluent.connect.jdbc.JdbcSinkConnector", `{"connector.class":"io.confluent.connect.jdbc.JdbcSinkConnector","connection.url":"jdbc:postgresql://h/db","connection.user":"u",
			"insert.mode":"UPSERT","pk.mode":"record_value","pk.fields":"a,b","auto.create":"true","auto.evolve":"false","table.name.format":"x_${topic}",
			"dialect.name":"PostgreSqlDatabaseDialect","max.retries":"10","retry.backoff.ms":"3000","fields.whitelist":"a,b,c"}`,
			options{upsert: true, create: true, pkMode: "record_value", pkFields: []string{"a", "b"}, format: "x_${topic}", batchSize: 3000, dotted: true, include: []string{"a", "b", "c"}}},
		{"io.debezium.connector.jdbc.JdbcSinkConnector", `{"connection.url":"jdbc:postgresql://h/db"}`, options{pkMode: "none", format: "${topic}", batchSize: 3000}},
		{"tidemill.PostgresSink", `{"connection.url":"postgres://h/db"}`,
			options{upsert: true, deletes: true, truncates: true, create: true, evolve: true, pkMode: "record_key", format: "${topic}", batchSize: 3000}},
	} {
		p, err := connect.FindPlugin(Plugins(), c.class)
		if err != nil {
			t.Fatal(err)
		}
		var config connect.Config
		if err := json.Unmarshal([]byte(c.text), &config); err != nil {
			t.Fatal(err)
		}
		o, _, err := parse(p.New().(*connector).defaults, config)
		o.placeholder = ""
		got, want := asText(t, o), asText(t, c.want)
		if err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.class, err, got, want)
		}
		delete(config, "connector.class")
		if _, err := p.Config.Parse(config); err != nil {
			t.Errorf("%s: %v", c.class, err)
		}
	}
}

func asText(t *testing.T, o options) string {
	t.Helper()
	text, err := json.Marshal([]any{o.upsert, o.deletes, o.truncates, o.create, o.evolve, o.pkMode, o.pkFields, o.format, o.dotted, o.include, o.batchSize, o.offsets})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFormats(t *testing.T) {
	for format, good := range map[string]bool{
		"${topic}": true, "a.${topic}": true, "${source.schema}.${source.table}": true, "plain": true, "${source.db}_${table}": true,
		"": false, "a.b.c": false, ".a": false, "a.": false, "${x}": false, "${topic": false,
	} {
		if err := checkFormat(format); (err == nil) != good {
			t.Errorf("%q: %v", format, err)
		}
	}
}

func TestSample(t *testing.T) {
	text, err := os.ReadFile("sample.json")
	if err != nil {
		t.Fatal(err)
	}
	var sample struct{ Config connect.Config }
	if err := json.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	p, err := connect.FindPlugin(Plugins(), sample.Config["connector.class"])
	if err != nil {
		t.Fatal(err)
	}
	for _, framework := range []string{"connector.class", "tasks.max", "topics"} {
		delete(sample.Config, framework)
	}
	if _, err := p.Config.Parse(sample.Config); err != nil {
		t.Error(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range append(connectionKeys(), writingKeys(ours())...) {
		if !strings.Contains(string(readme), "`"+k.Name+"`") {
			t.Errorf("README.md does not mention %s", k.Name)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("jdbc:postgresql://h/db?ssl=true")
	f.Fuzz(func(t *testing.T, text string) {
		if u, err := parseURL(text); err == nil && (u.Host == "" || u.Query().Has("passfile")) {
			t.Errorf("%q was accepted", text)
		}
	})
}
