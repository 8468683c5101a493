package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// faultsOf returns the errors of a validation as "setting: message".
func faultsOf(v Validation) []string {
	var list []string
	for _, c := range v.Configs {
		for _, e := range c.Value.Errors {
			list = append(list, c.Value.Name+": "+e)
		}
	}
	return list
}

func TestValidate(t *testing.T) {
	l := newLab(t)
	w := l.start(connect.Config{"connector.client.config.override.policy": "Principal"})
	source := func(more ...string) connect.Config { return with(counter("numbers", "name", "c"), more...) }
	sink := func(more ...string) connect.Config { return with(keeper("a", "name", "s"), more...) }
	transform := func(c connect.Config, more ...string) connect.Config {
		return with(with(c, "transforms", "t", "transforms.t.type", "Suffix"), more...)
	}
	for name, tt := range map[string]struct {
		config connect.Config
		want   []string // Beginnings.
	}{
		"good source":    {source(), nil},
		"good sink":      {sink(), nil},
		"no name":        {with(counter("x")), []string{`name: Missing required configuration "name" which has no default value.`}},
		"wrong type":     {source("tasks.max", "many"), []string{"tasks.max: Invalid value many for configuration tasks.max: Not a number of type INT"}},
		"out of range":   {source("tasks.max", "0"), []string{"tasks.max: Invalid value 0 for configuration tasks.max: Value must be at least 1"}},
		"unknown":        {source("tpoic", "x"), []string{"tpoic: Unknown configuration tpoic → did you mean topic?"}},
		"misspelt frame": {sink("error.tolerance", "all"), []string{"error.tolerance: Unknown configuration error.tolerance → did you mean errors.tolerance?"}},
		"tolerance":      {source("errors.tolerance", "some"), []string{"errors.tolerance: Invalid value some for configuration errors.tolerance: String must be one of: none, all"}},
		"no topics": {without1(sink(), "topics"), []string{
			"topics: Must configure one of", "topics.regex: Must configure one of"}},
		"both topics": {sink("topics.regex", "a.*"), []string{
			"topics: topics and topics.regex are mutually exclusive", "topics.regex: topics and topics.regex are mutually exclusive"}},
		"letters in topics":    {sink("errors.deadletterqueue.topic.name", "a"), []string{"topics: The DLQ topic 'a' may not be included"}},
		"letters in the regex": {without1(sink("topics.regex", "d.*", "errors.deadletterqueue.topic.name", "dlq"), "topics"), []string{"topics.regex: The DLQ topic 'dlq' may not be included"}},
		"duplicate transforms": {transform(source(), "transforms", "t, t"), []string{"transforms: Invalid value t, t for configuration transforms: Duplicate alias provided."}},
		"missing transform":    {source("transforms", "t"), []string{`transforms.t.type: Missing required configuration "type"`}},
		"unknown transform":    {transform(source(), "transforms.t.type", "Sufix"), []string{"transforms.t.type: Invalid value Sufix for configuration transforms.t.type: Class Sufix could not be found. → did you mean Suffix?"}},
		"transform setting":    {transform(source(), "transforms.t.sufix", "x"), []string{"transforms.t.sufix: Unknown configuration sufix → did you mean suffix?"}},
		"no version":           {transform(source(), "transforms.t.plugin.version", "[2,1"), []string{"transforms.t.plugin.version: Invalid value [2,1 for configuration transforms.t.plugin.version: "}},
		"a version of our own": {transform(source(), "transforms.t.plugin.version", "[1,2)"), nil},
		"no such predicate":    {transform(source(), "transforms.t.predicate", "p"), []string{"transforms.t.predicate: Invalid value p"}},
		"negate of nothing":    {transform(source(), "transforms.t.negate", "true"), []string{"transforms.t.negate: Invalid value true"}},
		"unknown converter":    {source("key.converter", "Txt"), []string{"key.converter: Invalid value Txt for configuration key.converter: Class Txt could not be found. → did you mean Text?"}},
		"override refused":     {source("producer.override.linger.ms", "1"), []string{"producer.override.linger.ms: The 'Principal' policy does not allow 'linger.ms' to be overridden"}},
		"override allowed":     {source("producer.override.sasl.mechanism", "PLAIN"), nil},
		"group of the workers": {sink("consumer.override.group.id", "workers"), []string{
			"consumer.override.group.id: The 'Principal' policy", "consumer.override.group.id: Consumer group for sink connector named s conflicts with Connect worker group workers"}},
		"exactly once":    {source("exactly.once.support", "required"), []string{"exactly.once.support: This worker does not have exactly-once source support enabled."}},
		"boundaries":      {source("exact", "no", "transaction.boundary", "connector"), []string{"transaction.boundary: The connector does not support connector-defined transaction boundaries"}},
		"partitions":      {source("topic.creation.default.partitions", "x"), []string{"topic.creation.default.partitions: Invalid value x"}},
		"partitions none": {source("topic.creation.default.partitions", "0"), []string{"topic.creation.default.partitions: Invalid value 0: Value must be at least 1, or -1"}},
		"group unnamed": {source("topic.creation.groups", "logs", "topic.creation.logs.include", "l.*", "topic.creation.lgs.partitions", "3"), []string{
			"topic.creation.lgs.partitions: Unknown configuration topic.creation.lgs.partitions: topic.creation.groups does not name the group lgs → did you mean logs?"}},
		"group of nothing": {source("topic.creation.groups", "logs"), []string{`topic.creation.logs.include: Missing required configuration "topic.creation.logs.include"`}},
		"memory":           {source("memory.max.bytes", "1"), []string{"memory.max.bytes: Invalid value 1"}},
		"unreachable":      {source("validate.trouble", "unreachable"), []string{"count: the other system is not there → start it"}},
		"blocked":          {source("validate.trouble", "block"), []string{"connector.class: the other system did not answer within 300ms"}},
		"several at once": {source("tasks.max", "x", "tpoic", "y", "errors.tolerance", "z"), []string{
			"errors.tolerance:", "tasks.max:", "tpoic:"}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			v, err := w.Validate(t.Context(), "", tt.config)
			must(t, err)
			got := faultsOf(v)
			ok := len(got) == len(tt.want) && v.ErrorCount == len(got)
			for _, want := range tt.want {
				ok = ok && slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, want) })
			}
			if !ok {
				t.Errorf("%d faults:\n%s\nwant\n%s", v.ErrorCount, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func without1(c connect.Config, name string) connect.Config {
	c = maps.Clone(c)
	delete(c, name)
	return c
}

func TestValidateRefusesWhatItCannotCheck(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	_, err := w.Validate(t.Context(), "Counting", counter("x", "connector.class", "org.example.CountingSourceConectr"))
	failing(t, err, "request.invalid", "Included connector type org.example.CountingSourceConectr does not match request type Counting")
	_, err = w.Validate(t.Context(), "", connect.Config{"name": "x", "password": "geheim"})
	failing(t, err, "config.invalid", "Connector config contains no connector type")
	_, err = w.Create(t.Context(), CreateRequest{Name: "x", Config: connect.Config{"connector.class": "CuontingSource"}})
	failing(t, err, "plugin.unknown", "Failed to find any class that implements Connector and which name matches CuontingSource, available connectors are: org.example.KeepingSinkConnector, org.example.CountingSourceConnector")
	if e := connect.AsError(err); e.Mend != "did you mean CountingSource?" {
		t.Errorf("the mend is %s", e.Mend)
	}
	_, err = w.Create(t.Context(), CreateRequest{Name: "x", Config: counter("x", "tasks.max", "0", "tpoic", "x")})
	failing(t, err, "config.invalid", "Connector configuration is invalid and contains the following 2 error(s):\nInvalid value 0 for configuration tasks.max: Value must be at least 1\nUnknown configuration tpoic → did you mean topic?\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`")
	if len(w.Connectors()) != 0 {
		t.Error("a refused connector was created")
	}
}

// TestValidateListsConnectsKeys compares with the settings Kafka Connect's own tests
// expect of every connector, besides the plugin's.
func TestValidateListsConnectsKeys(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	common := []string{
		"name", "connector.class", "tasks.max", "tasks.max.enforce", "key.converter", "value.converter", "header.converter",
		"transforms", "predicates", "config.action.reload", "errors.retry.timeout", "errors.retry.delay.max.ms", "errors.tolerance",
		"errors.log.enable", "errors.log.include.messages",
	}
	for _, tt := range []struct {
		config connect.Config
		want   []string
	}{
		{counter("x", "name", "c"), []string{
			"topic.creation.groups", "exactly.once.support", "transaction.boundary", "transaction.boundary.interval.ms", "transaction.max.records", "transaction.max.bytes", "offsets.storage.topic",
			"topic", "count", "batch", "fail.at", "trouble", "connector.trouble", "validate.trouble", "tasks", "bad.every", "mark.every", "txn.size", "abort.every", "exact", "pace.ms", "password"}},
		{keeper("x", "name", "s"), []string{
			"topics", "topics.regex", "errors.deadletterqueue.topic.name", "errors.deadletterqueue.topic.replication.factor",
			"errors.deadletterqueue.context.headers.enable", "trouble"}},
	} {
		v, err := w.Validate(t.Context(), "", tt.config)
		must(t, err)
		var got []string
		for _, c := range v.Configs {
			got = append(got, c.Value.Name)
		}
		if want := append(slices.Clone(common), tt.want...); !same(got, want) {
			t.Errorf("settings are\n%v, want\n%v", got, want)
		}
		if !slices.Equal(v.Groups[:2], []string{"Common", "Error Handling"}) {
			t.Errorf("groups are %v", v.Groups)
		}
	}
}

func TestSecretsAreResolvedLateAndNeverShown(t *testing.T) {
	l := newLab(t)
	w := l.start(nil, func(o *Options) {
		o.Resolve = func(c connect.Config) (connect.Config, error) {
			c = maps.Clone(c)
			for k, v := range c {
				if v == "${file:missing}" {
					return nil, &connect.Error{Code: "config.secret", Place: k, Message: "the file is missing"}
				}
				c[k] = strings.ReplaceAll(v, "${env:PW}", "geheim")
			}
			return c, nil
		}
	})
	config := counter("numbers", "count", "5", "password", "${env:PW}")
	v, err := w.Validate(t.Context(), "", with(config, "name", "c"))
	must(t, err)
	for _, c := range v.Configs {
		if c.Value.Value != nil && strings.Contains(*c.Value.Value, "geheim") {
			t.Errorf("%s shows the secret", c.Value.Name)
		}
	}
	w.create("c", config)
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":5}` })
	w.waitState("c", "RUNNING RUNNING")
	tasks, err := w.TaskConfigs("c")
	must(t, err)
	if tasks[0].Config["password"] != "${env:PW}" {
		t.Errorf("the task's configuration is %v", tasks[0].Config)
	}
	w.stop()
	for _, topic := range []string{"connect-configs", "connect-status"} {
		for _, r := range l.records(topic) {
			if strings.Contains(string(r.Value), "geheim") {
				t.Errorf("%s holds the secret: %s", topic, r.Key)
			}
		}
	}
	w = l.start(nil, func(o *Options) {
		o.Resolve = func(c connect.Config) (connect.Config, error) {
			if c["name"] == "c" {
				return nil, errors.New("no secrets today")
			}
			return c, nil
		}
	})
	w.waitState("c", "FAILED FAILED")
	_, err = w.Create(t.Context(), CreateRequest{Name: "d", Config: config})
	must(t, err)
}

func TestRequestsEndWithTheirTime(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	unlock, err := w.lock(t.Context())
	must(t, err)
	defer unlock()
	leave := w.stages.enter("writing a config for connector x to the config topic")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = w.Create(ctx, CreateRequest{Name: "c", Config: counter("x")})
	failing(t, err, "worker.timeout", "Request timed out. The worker is currently writing a config for connector x to the config topic, which began at ")
	_, err = w.Validate(ctx, "", counter("x", "name", "c", "validate.trouble", "block"))
	failing(t, err, "worker.timeout", "Request timed out. The worker is currently writing a config for connector x to the config topic, which began at ")
	leave()
	failing(t, w.SetState(ctx, "c", Paused), "worker.timeout", "Request timed out. The last operation the worker completed was writing a config for connector x to the config topic, which began at ")
}
