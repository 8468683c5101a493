package worker

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

func TestVersionsAreOrdered(t *testing.T) {
	ordered := []string{"1.0-alpha1", "1.0-alpha2", "1.0-beta", "1.0-M1", "1.0-RC1", "1.0-SNAPSHOT", "1.0", "1.0-sp", "1.0.1", "1.2", "1.10", "2.0.0-rc1", "2", "2.0.0.1"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := compareVersions(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
	for _, same := range [][2]string{{"1", "1.0.0"}, {"1.0", "1.0.Final"}, {"v1", "V1"}, {"1.0-rc1", "1.0-cr1"}} {
		if compareVersions(same[0], same[1]) != 0 {
			t.Errorf("%s is not %s", same[0], same[1])
		}
	}
}

func TestRequirements(t *testing.T) {
	all := []string{"", "0.9", "1.0", "1.1", "1.2", "2.0"}
	for text, want := range map[string]string{
		"": ",0.9,1.0,1.1,1.2,2.0", "latest": ",0.9,1.0,1.1,1.2,2.0", "1.1": "1.1", " [1.1] ": "1.1", "[1.0,2.0)": "1.0,1.1,1.2", "(1.0,2.0]": "1.1,1.2,2.0",
		"[1.2,)": "1.2,2.0", "(,1.0]": "0.9,1.0", "(,1.0],[1.2,)": "0.9,1.0,1.2,2.0", "3": "",
	} {
		r, err := parseRequirement(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var allowed []string
		for _, v := range all {
			if r.allows(v) {
				allowed = append(allowed, v)
			}
		}
		if got := strings.Join(allowed, ","); got != want {
			t.Errorf("%q allows %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"[", "[1,2", "(1)", "[]", "[2,1]", "[1]x", "[[1]"} {
		if r, err := parseRequirement(text); err == nil {
			t.Errorf("%q is understood as %v", text, r)
		}
	}
}

// TestExternalConnectorsAreLocated has the same class in several versions, beside the
// program's own.
func TestExternalConnectorsAreLocated(t *testing.T) {
	source := func(class, version string, aliases ...string) connect.Plugin[connect.SourceConnector] {
		return connect.Plugin[connect.SourceConnector]{Class: class, Version: version, Aliases: aliases, New: func() connect.SourceConnector { return nil }}
	}
	looks := 0
	rt := &runtime{
		plugins: connect.Plugins{Sources: []connect.Plugin[connect.SourceConnector]{source("own.Plain", ""), source("own.Dated", "1.5")}},
		external: func(look bool) (p connect.Plugins) {
			p.Sources = []connect.Plugin[connect.SourceConnector]{source("far.ThingSource", "1.0", "old.Thing"), source("far.ThingSource", "2.0"), source("own.Dated", "3.0")}
			if look {
				looks++
				p.Sources = append(p.Sources, source("far.ThingSource", "4.0"))
			}
			return p
		},
	}
	for _, c := range []struct {
		class, version, want, code string
		looks                      int
	}{
		{"own.Plain", "", "own.Plain ", "", 0},
		{"own.Plain", "7", "own.Plain ", "", 0},
		{"own.Dated", "", "own.Dated 1.5", "", 0},
		{"Dated", "[2,)", "own.Dated 3.0", "", 0},
		{"ThingSource", "", "far.ThingSource 2.0", "", 0},
		{"old.Thing", "1.0", "far.ThingSource 1.0", "", 0},
		{"far.ThingSource", "[1,2)", "far.ThingSource 1.0", "", 0},
		{"far.ThingSource", "4.0", "far.ThingSource 4.0", "", 1},
		{"far.ThingSource", "9", "", "plugin.version", 1},
		{"far.ThingSource", "(9", "", "config.invalid", 0},
		{"far.Other", "", "", "plugin.unknown", 1},
	} {
		looks = 0
		l, err := rt.locate(connect.Config{"connector.class": c.class, "connector.plugin.version": c.version}, true)
		switch {
		case c.code != "" && (err == nil || connect.AsError(err).Code != c.code), c.code == "" && (err != nil || l.class+" "+l.version != c.want):
			t.Errorf("%+v: %s %s, %v", c, l.class, l.version, err)
		case looks != c.looks:
			t.Errorf("%+v: looked %d times", c, looks)
		}
	}
	h := &Herder{rt: rt}
	var listed []string
	for _, p := range h.Plugins() {
		listed = append(listed, p.Class+" "+p.Version)
	}
	if !slices.Contains(listed, "far.ThingSource 1.0") || !slices.Contains(listed, "far.ThingSource 4.0") || !slices.Contains(listed, "own.Plain ") {
		t.Errorf("listed: %q", listed)
	}
}
