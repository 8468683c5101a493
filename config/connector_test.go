package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
)

func TestParseConnectors(t *testing.T) {
	a := connect.Config{"name": "a", "tasks.max": "1", "ratio": "1.50", "on": "true"}
	for _, c := range []struct {
		name, text string
		want       []config.Connector
	}{
		{"x.json", `{"name":"a","tasks.max":1,"ratio":1.50,"on":true}`, []config.Connector{{Name: "a", Config: a, Place: "x.json:1"}}},
		{"x.json", `{"tasks.max":"1"}`, []config.Connector{{Name: "x", Config: connect.Config{"tasks.max": "1"}, Place: "x.json:1"}}},
		{"x.json", `{"name":" a ","config":{"k":"v"},"initial_state":"STOPPED","offsets":[]}`,
			[]config.Connector{{Name: "a", Config: connect.Config{"k": "v"}, InitialState: "STOPPED", Place: "x.json:1"}}},
		{"x.json", "[{\"name\":\"a\",\"k\":1},\n{\"name\":\"b\",\"config\":{}}]", []config.Connector{
			{Name: "a", Config: connect.Config{"name": "a", "k": "1"}, Place: "x.json:1"}, {Name: "b", Config: connect.Config{}, Place: "x.json:2"}}},
		{"x.yml", "name: a\nk: 010\n---\nname: b\nconfig: {k: no}\n", []config.Connector{
			{Name: "a", Config: connect.Config{"name": "a", "k": "010"}, Place: "x.yml:1"}, {Name: "b", Config: connect.Config{"k": "no"}, Place: "x.yml:4"}}},
		{"dir/s.properties", "topics = a,b\nfile=${file:/x:y}\n", []config.Connector{
			{Name: "s", Config: connect.Config{"topics": "a,b", "file": "${file:/x:y}"}, Place: "dir/s.properties"}}},
	} {
		got, err := config.ParseConnectors(c.name, []byte(c.text))
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", c.text, err, diff)
		}
	}
}

func TestConnectorFaultsAreReportedAtOnce(t *testing.T) {
	_, err := config.ParseConnectors("x.json", []byte("[\n{\"name\":\"a\",\"k\":{}, \"l\":[1]},\n{\"k\":null},\n7]"))
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{
		"config.shape: x.json:2: the setting k must be a plain value, this is an object", "the setting l must be a plain value, this is an array",
		"config.null: x.json:3: k: Null value can not be supplied as the configuration value.", "config.shape: x.json:4: a connector must be an object, this is a plain value",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
	one, two := write(t, "one.json", `{"name":"c","k":"1"}`), write(t, "two.json", `{"name":"c","k":"2"}`)
	if _, err := config.LoadConnectors(one, two); err == nil || !strings.Contains(err.Error(), "is already defined in "+one) {
		t.Error(err)
	}
	if all, err := config.LoadConnectors(one); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
}

func TestParseRequest(t *testing.T) {
	r, err := config.ParseRequest([]byte(`{"name":"a","config":{"k":null,"n":1e3},"initial_state":null}`))
	if err != nil || r.Name != "a" || r.Settings["k"] != nil || *r.Settings["n"] != "1e3" {
		t.Error(r, err)
	}
	settings, nulls := config.NonNull(r.Settings)
	if len(nulls) != 1 || nulls[0].Place != "k" || len(settings) != 1 {
		t.Error(settings, nulls)
	}
	for text, code := range map[string]string{
		`{"nome":"a"}`: "request.unknown_field", `[]`: "config.shape", `{"config":[]}`: "config.shape", `{"name":{}}`: "config.shape", `{`: "config.syntax", ``: "config.syntax",
	} {
		if _, err := config.ParseRequest([]byte(text)); err == nil || connect.AsError(err).Code != code {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMessages(t *testing.T) {
	err := connect.Errors{{Code: "a.b", Place: "k", Message: "wrong", Mend: "do it"}, {Message: "also"}}
	if diff := cmp.Diff([]string{"wrong → do it", "also"}, config.Messages(err)); diff != "" {
		t.Error(diff)
	}
}

func FuzzConfigJSON(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"name":"a","config":{"k":null}}`, `[{"a":[]}]`, `{"a":{"b":1.50}}`, "[[[[", `{"a":"\ud800"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := config.ParseConnectors("f.json", []byte(text))
		if err == nil {
			for _, c := range all {
				if c.Config == nil || c.Name == "" {
					t.Error("a connector without name or settings")
				}
			}
		}
		m, err := config.ParseMap([]byte(text))
		if (m == nil) == (err == nil) {
			t.Error("neither settings nor an error")
		}
	})
}

func FuzzProperties(f *testing.F) {
	for _, seed := range []string{"a=b", "a:b\\\n c", "a = ${a}", "#c\n!d\n", "\xff=\\u00fc", "a", "="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := config.ParseConnectors("f.properties", []byte(text))
		if err == nil && len(all) != 1 {
			t.Error("one file is one connector")
		}
	})
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"a: 1", "a: &x [1]\nb: *x", "- a: 1", "---\n---\n", "? [a]\n: b", "a: *x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = config.ParseConnectors("f.yaml", []byte(text)) // It must end without a panic.
	})
}
