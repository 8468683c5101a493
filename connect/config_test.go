package connect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

func table() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{Name: "host", Required: true, Importance: connect.High},
		connect.ConfigKey{Name: "port", Type: connect.TypeInt, Default: "5432", Check: connect.Between(1, 65535)},
		connect.ConfigKey{Name: "mode", Default: "initial", Check: connect.OneOf("initial", "never")},
		connect.ConfigKey{Name: "wait.ms", Type: connect.TypeDuration, Default: "1500"},
		connect.ConfigKey{Name: "tables", Type: connect.TypeList, Optional: true, Aliases: []string{"table.list"}},
		connect.ConfigKey{Name: "loud", Type: connect.TypeBoolean, Default: "false"},
	)
}

func TestParseFillsDefaults(t *testing.T) {
	s, err := table().Parse(connect.Config{"host": " db ", "table.list": "a , b"})
	if err != nil {
		t.Fatal(err)
	}
	if s.String("host") != "db" || s.Int("port") != 5432 || s.Duration("wait.ms") != 1500*time.Millisecond || s.Bool("loud") {
		t.Error("a value is wrong")
	}
	if got := strings.Join(s.List("tables"), "|"); got != "a|b" || !s.Given("tables") || s.Given("port") {
		t.Errorf("tables %s", got)
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	config := connect.Config{"port": "99999", "mode": "inital", "loud": "maybe", "tabels": "x"}
	_, err := table().Parse(config)
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{`Missing required configuration "host"`, "no more than 65535", "did you mean initial?", "either true or false", "did you mean tables?"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
	values := table().Validate(config)
	for _, name := range []string{"host", "port", "mode", "loud", "tabels"} {
		if values[name] == nil || len(values[name].Errors) != 1 {
			t.Errorf("%s: %+v", name, values[name])
		}
	}
}

func TestFindPlugin(t *testing.T) {
	list := []connect.Plugin[connect.Converter]{
		{Class: "io.confluent.connect.avro.AvroConverter", Aliases: []string{"tidemill.Avro"}},
		{Class: "org.apache.kafka.connect.json.JsonConverter"},
	}
	for _, name := range []string{"io.confluent.connect.avro.AvroConverter", "AvroConverter", "Avro", "tidemill.Avro"} {
		if p, err := connect.FindPlugin(list, name); err != nil || p.Class != list[0].Class {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := connect.FindPlugin(list, "JsonConvertor")
	if err == nil || !strings.Contains(err.Error(), "did you mean JsonConverter?") {
		t.Error(err)
	}
}
