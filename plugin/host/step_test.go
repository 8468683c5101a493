package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/worker"
)

// stepsHeld are a transform and a predicate.
func stepsHeld(version string) connect.Plugins {
	return connect.Plugins{
		Transforms: []connect.Plugin[connect.Transform]{{
			Class: "test.Mark", Version: version, Doc: "Marks.", Config: markDef(), New: func() connect.Transform { return &marking{version: version} },
		}},
		Predicates: []connect.Plugin[connect.Predicate]{{
			Class: "test.Nth", Version: version, Config: nthDef(), New: func() connect.Predicate { return &nth{} },
		}},
	}
}

func markDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{Name: "suffix", Default: "!"},
		connect.ConfigKey{Name: "trouble", Optional: true},
		connect.ConfigKey{Name: "at", Type: connect.TypeInt, Default: "-1", Check: connect.Between(-1, 1<<30)},
		connect.ConfigKey{Name: "seal", Type: connect.TypePassword, Optional: true},
		connect.ConfigKey{Name: "pidfile", Optional: true},
	)
}

// marking is a transform that appends to texts; with one that begins with the number "at" it
// has trouble.
type marking struct {
	version string
	s       connect.Settings
}

func (m *marking) Configure(s connect.Settings) error {
	m.s = s
	if path := s.String("pidfile"); path != "" {
		return writePid(path)
	}
	return nil
}

func (m *marking) Close() error { return nil }

func (m *marking) Apply(r *connect.Record) (bool, error) {
	switch m.s.String("trouble") {
	case "change":
		r.Timestamp++
		return true, nil
	case "pass":
		return true, nil
	}
	text := r.Value.Str()
	trouble := ""
	if number(text) == m.s.Int("at") {
		trouble = m.s.String("trouble")
	}
	if m.s.String("trouble") == "mixed" {
		trouble = text
	}
	switch trouble {
	case "":
		if text == "" {
			return true, nil
		}
	case "drop":
		return false, nil
	case "fail":
		return false, &connect.Error{Code: "test.mark", Class: connect.ClassRecord, Message: "not this one"}
	case "panic":
		panic("the transform's own fault")
	}
	suffix := m.s.String("suffix")
	if suffix == "version" {
		suffix = "v" + m.version
	}
	r.Value = connect.String(text + suffix)
	return true, nil
}

func nthDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{Name: "n", Type: connect.TypeInt, Default: "2"}, connect.ConfigKey{Name: "trouble", Type: connect.TypeInt, Default: "-1"})
}

// nth is a predicate that holds for texts that begin with a multiple of n.
type nth struct{ s connect.Settings }

func (p *nth) Configure(s connect.Settings) error { p.s = s; return nil }

func (p *nth) Test(r *connect.Record) bool {
	n := number(r.Value.Str())
	if n == p.s.Int("trouble") {
		panic("the predicate's own fault")
	}
	return n%p.s.Int("n") == 0
}

// number is what a text begins with.
func number(text string) int {
	end := strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' })
	if end < 0 {
		end = len(text)
	}
	n, err := strconv.Atoi(text[:end])
	if err != nil {
		return -2
	}
	return n
}

// marked are settings with a transform.
func marked(config connect.Config, more ...string) connect.Config {
	config["transforms"], config["transforms.m.type"] = "m", "test.Mark"
	for i := 0; i < len(more); i += 2 {
		config[more[i]] = more[i+1]
	}
	return config
}

// TestStepsOfASource has versions of a transform beside each other, a predicate, and
// records that are dropped, refused and panicked over.
func TestStepsOfASource(t *testing.T) {
	for name, over := range map[string]connect.Config{"at least once": nil, "exactly once": {"exactly.once.source.support": "enabled"}} {
		t.Run(name, func(t *testing.T) {
			r := start(t, devstack.TestKafka(t), pluginDir(t, "counter-1", "steps-1.0", "steps-2.0"), over)
			prefix := "step-" + name[:1] + "-"
			for topic, c := range map[string]struct {
				more []string
				make func(n int) string // "" when it is left out.
			}{
				"newest": {[]string{"transforms.m.suffix", "version"}, func(n int) string { return fmt.Sprintf("%d@1v2.0", n) }},
				"older":  {[]string{"transforms.m.suffix", "version", "transforms.m.plugin.version", "(,2.0)"}, func(n int) string { return fmt.Sprintf("%d@1v1.0", n) }},
				"even": {[]string{"transforms.m.predicate", "p", "transforms.m.negate", "true", "predicates", "p", "predicates.p.type", "Nth", "predicates.p.trouble", "5", "errors.tolerance", "all"}, func(n int) string {
					return []string{fmt.Sprintf("%d@1", n), fmt.Sprintf("%d@1!", n)}[n%2]
				}},
				"drop":  {[]string{"transforms.m.trouble", "drop", "transforms.m.at", "5"}, func(n int) string { return fmt.Sprintf("%d@1!", n) }},
				"fail":  {[]string{"transforms.m.trouble", "fail", "transforms.m.at", "5", "errors.tolerance", "all"}, func(n int) string { return fmt.Sprintf("%d@1!", n) }},
				"panic": {[]string{"transforms.m.trouble", "panic", "transforms.m.at", "5", "errors.tolerance", "all"}, func(n int) string { return fmt.Sprintf("%d@1!", n) }},
			} {
				var want []string
				for n := 1; n <= 20; n++ {
					if n == 5 && topic != "newest" && topic != "older" {
						continue
					}
					want = append(want, c.make(n))
				}
				config := marked(source(prefix+topic, "count", "20"), c.more...)
				r.create(topic, config)
				await(t, topic+" has written", func() bool { return len(r.values(prefix+topic)) >= len(want) })
				if got := r.values(prefix + topic); !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", topic, got, want)
				}
			}
			if log := r.log.String(); !strings.Contains(log, "the plugin's code panicked") || !strings.Contains(log, "the transform's own fault") || !strings.Contains(log, "connector=panic") {
				t.Error("the log does not tell of the panic, with the connector")
			}
			r.create("strict", marked(source(prefix+"strict", "count", "20"), "transforms.m.trouble", "panic", "transforms.m.at", "5"))
			await(t, "it fails", func() bool { return r.state("strict") == "RUNNING 1 FAILED" })
			s, err := r.h.Status("strict")
			must(t, err)
			if f := s.Tasks[0].Failure; f == nil || f.Code != "task.panic" || f.Stage != "TRANSFORMATION" || !strings.Contains(f.Message, "the transform's own fault") {
				t.Errorf("the failure is %+v", f)
			}
		})
	}
}

// TestKilledStep kills the process of a transform, or of a converter, again and again: its
// task starts anew, with the record it was at, and another connector's is not touched.
func TestKilledStep(t *testing.T) {
	for kind, c := range map[string]struct {
		use   func(config connect.Config, pidfile string) connect.Config
		write func(value string) string
	}{
		"transform": {
			func(config connect.Config, pidfile string) connect.Config {
				return marked(config, "transforms.m.pidfile", pidfile)
			},
			func(value string) string { return value + "!" },
		},
		"converter": {
			func(config connect.Config, pidfile string) connect.Config {
				config["value.converter"], config["value.converter.pidfile"] = "test.Reversed", pidfile
				return config
			},
			func(value string) string {
				text := []byte(value)
				slices.Reverse(text)
				return string(text) + "."
			},
		},
	} {
		for name, over := range map[string]connect.Config{"at least once": nil, "exactly once": {"exactly.once.source.support": "enabled"}} {
			t.Run(kind+", "+name, func(t *testing.T) { killSteps(t, kind+"-killed-"+name[:1], over, c.use, c.write) })
		}
	}
}

func killSteps(t *testing.T, topic string, over connect.Config, use func(connect.Config, string) connect.Config, write func(string) string) {
	dir := t.TempDir()
	r := start(t, devstack.TestKafka(t), pluginDir(t, "counter-1", "steps-1", "converters-1"), over)
	victim, other := filepath.Join(dir, "victim"), filepath.Join(dir, "other")
	r.create("other", use(source(topic+"-other", "pace.ms", "5"), other))
	r.create("victim", use(source(topic, "pace.ms", "1", "boundary", "5", "batch", "7", "errors.tolerance", "all"), victim))
	await(t, "the other one writes", func() bool { return len(r.values(topic+"-other")) > 0 })
	bystander := pid(other)
	for range 3 {
		before := len(distinct(r.values(topic)))
		await(t, "the task writes", func() bool { return len(distinct(r.values(topic))) > before+30 })
		killed := pid(victim)
		must(t, syscall.Kill(killed, syscall.SIGKILL))
		await(t, "it is started again", func() bool { return pid(victim) != killed && pid(victim) != 0 })
	}
	before := len(distinct(r.values(topic)))
	await(t, "the last one writes", func() bool { return len(distinct(r.values(topic))) > before+30 })
	if pid(other) != bystander || syscall.Kill(bystander, 0) != nil {
		t.Error("the process of another connector is not the same any more")
	}
	if !strings.Contains(r.log.String(), "plugin.ended") || !strings.Contains(r.log.String(), "signal: killed") {
		t.Error("the log does not tell how the process ended")
	}
	r.stop()
	got := r.values(topic)
	once := distinct(got)
	want := counted(len(once), "1")
	for i, value := range want {
		want[i] = write(value)
	}
	if slices.Sort(want); !slices.Equal(once, want) {
		t.Errorf("of %d values some are missing", len(once))
	}
	if over != nil && len(got) != len(once) {
		t.Errorf("%d of %d values are there twice", len(got)-len(once), len(got))
	}
	if syscall.Kill(bystander, 0) == nil {
		t.Error("a process is left when the worker has stopped")
	}
}

// TestTransformOfASink refuses a record: it becomes a letter as it was read.
func TestTransformOfASink(t *testing.T) {
	brokers := devstack.TestKafka(t)
	r := start(t, brokers, pluginDir(t, "counter-1", "steps-1"), nil)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("step-in"), kgo.AllowAutoTopicCreation())
	must(t, err)
	defer client.Close()
	for _, v := range []string{"1", "2", "3", "4"} {
		must(t, client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("k"), Value: []byte(v)}).FirstErr())
	}
	path := filepath.Join(t.TempDir(), "lines")
	r.create("s", marked(connect.Config{
		"connector.class": "test.LinesSink", "topics": "step-in", "path": path, "errors.tolerance": "all",
		"errors.deadletterqueue.topic.name": "step-letters", "errors.deadletterqueue.topic.replication.factor": "1", "errors.deadletterqueue.context.headers.enable": "true",
	}, "transforms.m.trouble", "fail", "transforms.m.at", "2"))
	lines := func() string {
		text, _ := os.ReadFile(path)
		return string(text)
	}
	await(t, "the last one is there", func() bool { return strings.Contains(lines(), `"4!"`) })
	if want := "step-in:0 \"k\" \"1!\"\nstep-in:2 \"k\" \"3!\"\nstep-in:3 \"k\" \"4!\"\n"; lines() != want {
		t.Errorf("written: %q, want %q", lines(), want)
	}
	if got := r.values("step-letters"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("letters: %q", got)
	}
}

// TestStepsAreValidated shows the checks of a plugin in a worker's answer.
func TestStepsAreValidated(t *testing.T) {
	r := start(t, devstack.TestKafka(t), pluginDir(t, "counter-1", "steps-1.0", "steps-2.0"), nil)
	for _, c := range []struct{ name, value, place, want string }{
		{"transforms.m.at", "-2", "transforms.m.at", "at least -1"},
		{"transforms.m.at", "x", "transforms.m.at", "Not a number"},
		{"transforms.m.sufix", "x", "transforms.m.sufix", "did you mean suffix"},
		{"transforms.m.plugin.version", "[3,)", "transforms.m.plugin.version", "only 1.0, 2.0"},
		{"transforms.m.type", "test.Marc", "transforms.m.type", "did you mean test.Mark"},
		{"predicates.p.n", "x", "predicates.p.n", "Not a number"},
	} {
		config := marked(source("t", "name", "c"), "transforms.m.predicate", "p", "transforms.m.plugin.version", "[1,2)", "predicates", "p", "predicates.p.type", "test.Nth", c.name, c.value)
		v, err := r.h.Validate(t.Context(), "", config)
		must(t, err)
		var errs []string
		for _, setting := range v.Configs {
			for _, text := range setting.Value.Errors {
				errs = append(errs, setting.Value.Name+": "+text)
			}
		}
		if len(errs) != 1 || !strings.HasPrefix(errs[0], c.place+": ") || !strings.Contains(errs[0], c.want) {
			t.Errorf("%s=%s: %q", c.name, c.value, errs)
		}
	}
	listed := map[string]bool{}
	for _, p := range r.h.Plugins() {
		listed[p.Type+" "+p.Class+" "+p.Version] = true
	}
	for _, version := range []string{"1.0", "2.0"} {
		if !listed["transformation test.Mark "+version] || !listed["predicate test.Nth "+version] {
			t.Errorf("version %s is not listed: %v", version, listed)
		}
	}
	keys, err := r.h.PluginConfig("test.Mark", "1.0")
	must(t, err)
	if i := slices.IndexFunc(keys, func(k connect.ConfigKey) bool { return k.Name == "seal" }); i < 0 || keys[i].Type != connect.TypePassword || len(keys) != 5 {
		t.Errorf("the settings lack a secret: %v", keys)
	}
	_, err = r.h.Create(t.Context(), worker.CreateRequest{Name: "none", Config: marked(source("t"), "transforms.m.plugin.version", "7")})
	if err == nil || !strings.Contains(err.Error(), "no version that is asked for") {
		t.Errorf("a version there is not: %v", err)
	}
}
