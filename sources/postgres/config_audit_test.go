package postgres

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// properties reads testdata/properties.txt: names and values.
func properties(t *testing.T) (list [][2]string) {
	t.Helper()
	f, err := os.Open("testdata/properties.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(name, "#") {
			list = append(list, [2]string{name, value})
		}
	}
	return list
}

// told writes everything that settings hold, functions left out: what they do shows
// elsewhere.
func told(v reflect.Value, into *strings.Builder) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			told(v.Elem(), into)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			into.WriteString(v.Type().Field(i).Name + "{")
			told(v.Field(i), into)
			into.WriteString("}")
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			told(v.Index(i), into)
			into.WriteString(",")
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			into.WriteString(k.String() + ":")
			told(v.MapIndex(k), into)
		}
	case reflect.Func:
	default:
		fmt.Fprint(into, v)
	}
}

// TestNoPropertyIsIgnored goes through all properties that Debezium knows: each is
// followed, which shows in the parsed settings, or accepted with a reason, or refused
// by its name.
func TestNoPropertyIsIgnored(t *testing.T) {
	t.Parallel()
	def := configDef()
	base := func() connect.Config { return testConfig("database.hostname", "here") }
	write := func(config connect.Config) (string, error) {
		set, err := newSettings(config)
		if err != nil {
			return "", err
		}
		var b strings.Builder
		told(reflect.ValueOf(set), &b)
		return b.String() + set.modes.schemaName("a-b") + "|" + set.modes.fieldName("a-b"), nil
	}
	// What the worker itself reads, and what is followed outside the settings.
	elsewhere := []string{"name", "connector.class", "tasks.max", "connection.validation.timeout.ms", "signal.consumer.fetch.min.bytes"}
	counted := map[string]int{}
	for _, p := range properties(t) {
		name, value := p[0], p[1]
		before := base()
		if name == "snapshot.select.statement.overrides" {
			before["snapshot.select.statement.overrides.public.a"] = "SELECT 1"
		} else if strings.HasPrefix(name, "snapshot.select.statement.overrides.") {
			before["snapshot.select.statement.overrides"] = "public.a"
			before[name] = "SELECT 2"
		} else if strings.HasPrefix(name, "snapshot.mode.configuration.based.") {
			const data, stream = "snapshot.mode.configuration.based.snapshot.data", "snapshot.mode.configuration.based.start.stream"
			before["snapshot.mode"] = "configuration_based"
			before[data], before[stream] = fmt.Sprint(name != data), fmt.Sprint(name != stream)
		} else if strings.HasPrefix(name, "signal.kafka.") {
			before["signal.enabled.channels"] = "kafka"
		}
		was, err := write(before)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		before[name] = value
		is, err := write(before)
		key, declared := def.Key(name)
		property, driver := driverProperty(name)
		switch {
		case err != nil && strings.Contains(err.Error(), name) && !strings.Contains(err.Error(), "config.unknown"):
			counted["refused"]++
		case err != nil:
			t.Errorf("%s=%s: %v", name, value, err)
		case is != was || slices.Contains(elsewhere, name):
			counted["followed"]++
			if strings.HasPrefix(key.Doc, "Accepted, no effect") {
				t.Errorf("%s has an effect, and its description says that it has none", name)
			}
		case declared && strings.HasPrefix(key.Doc, "Accepted, no effect: ") && len(key.Doc) > 30:
			counted["accepted"]++
		case !declared && driver && slices.Contains(driverInner(), property):
			counted["accepted"]++
		default:
			t.Errorf("%s=%s is ignored", name, value)
		}
	}
	t.Log(counted)
	if counted["followed"] < 80 {
		t.Errorf("only %d properties are followed", counted["followed"])
	}
}

// TestDriverProperties passes properties of the Java driver through, under both of
// their names.
func TestDriverProperties(t *testing.T) {
	t.Parallel()
	for setting, says := range map[string]string{
		"driver.socketTimeout": "", "database.ApplicationName": "", "driver.options": "", "driver.connectTimeout": "cannot be followed", "driver.sslmode": "must be one of",
		"driver.socketFactory": "Java classes", "database.currentSchema": "schemas", "driver.nothing": "neither a setting", "database.hostnme": "did you mean database.hostname?",
	} {
		_, err := newSettings(testConfig(setting, "x"))
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), setting)) {
			t.Errorf("%s: %v", setting, err)
		}
	}
	set := mustSettings(t, testConfig("driver.connectTimeout", "7", "driver.options", "-c work_mem=8MB", "driver.ssl", "true", "database.sslcert", "/c", "driver.sslkey", "/k"))
	if set.connectTimeout.Seconds() != 7 || set.options != "-c work_mem=8MB" || set.ssl["sslmode"] != "verify-full" || set.cert != "/c" || set.key != "/k" {
		t.Errorf("%+v", set)
	}
}

// TestRanges gives numbers that make no sense.
func TestRanges(t *testing.T) {
	t.Parallel()
	for setting, value := range map[string]string{
		"max.batch.size": "0", "max.queue.size": "-1", "heartbeat.interval.ms": "-5", "status.update.interval.ms": "-1", "errors.max.retries": "-2", "wal.guard.interval.ms": "1",
		"max.queue.size.in.bytes": "-1", "slot.max.retries": "-1", "money.fraction.digits": "-1", "database.port": "no", "slot.name": "With-Capitals", "wal.guard.action": "explode",
		"table.include.list": "a(", "table.exclude.list": "public.a", "skipped.operations": "x",
	} {
		config := testConfig(setting, value)
		if setting == "table.exclude.list" {
			config["table.include.list"] = "public.b"
		}
		if _, err := newSettings(config); err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("%s=%s: %v", setting, value, err)
		}
	}
	if _, err := newSettings(testConfig("errors.max.retries", "-1")); err != nil {
		t.Error(err)
	}
}
