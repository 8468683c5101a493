package house_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/tidemill/tidemill/"

// floors lists the packages from the ground up. A package may import only
// packages on lower floors; neighbours on one floor do not know each other.
var floors = []string{
	"internal/failpoint",
	"connect  internal/meter  internal/javatime  internal/kafkalog  streams/state  streams/clock  streams/gctuner",
	"config  converters/*  transforms  registry  sources/*  sinks/*  streams/sql/functions  streams/serde  streams/fault  streams/query  streams/topics  streams/status  internal/emit  connect/connecttest  streams/state/statetest  plugin/internal/*",
	"streams/txn  worker/fleet  worker/otel",
	"worker  streams  streams/txn/txntest  internal/devstack  internal/testenv/*  torture/storm  plugin  plugin/host",
	"streams/join  streams/window  streams/monitor  streams/reset  streams/streamstest  torture/chaos  torture/oracle  torture/recount",
	"streams/sql  streams/cogroup  torture/fleet  bench/apps  rest/auth",
	"rest/live",
	"rest  pgwire  torture/bankstorm",
	"torture/mutants",
	"cmd/*  bench  bench/application  torture  torture/sim  examples/*  examples/streams/*",
}

// owners lists, for each outside module, the only packages that may import it.
var owners = map[string]string{
	"github.com/jackc/pglogrepl":    "sources/postgres bench torture",
	"github.com/jackc/pgx":          "sources/postgres sinks/postgres pgwire internal/devstack cmd/* bench torture torture/*",
	"github.com/twmb/franz-go":      "internal/kafkalog internal/devstack worker worker/fleet streams streams/fault streams/topics cmd/* bench bench/apps torture torture/*",
	"github.com/hamba/avro":         "converters/avro registry",
	"github.com/riferrei/srclient":  "converters/avro",
	"github.com/cockroachdb/pebble": "streams/state",
	"github.com/cockroachdb/apd":    "streams/sql/functions streams/sql",
	"github.com/magiconair":         "config",
	"go.yaml.in/yaml":               "config cmd/*",
	"github.com/spf13/cobra":        "cmd/*",
	"github.com/prometheus":         "rest worker internal/emit streams/monitor cmd/*",
	"go.uber.org/goleak":            "connect/connecttest",
	"golang.org/x/crypto":           "rest/auth",
	"github.com/go-jose":            "rest/auth",
	"golang.org/x/sync":             "sources/* sinks/* plugin/host worker worker/fleet streams streams/sql rest pgwire internal/* cmd/* bench bench/apps torture torture/*",
	"github.com/hashicorp":          "plugin plugin/host plugin/internal/line",
	"google.golang.org/grpc":        "plugin plugin/host plugin/internal/line",
	"google.golang.org/protobuf":    "streams/serde worker/otel internal/testenv/otlp",
	"go.opentelemetry.io":           "worker/otel internal/testenv/otlp",
	"golang.org/x/term":             "cmd/*",
}

// visitors lists, for each package of ours that is not for everybody above it, the only
// packages that may import it. A failpoint stands where something is made durable.
var visitors = map[string]string{
	"internal/failpoint": "internal/kafkalog sources/postgres sinks/postgres worker torture torture/*",
}

// TestLayers keeps the house as the plan in docs/architecture.md draws it.
func TestLayers(t *testing.T) {
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		from := filepath.ToSlash(filepath.Dir(file))
		for _, spec := range f.Imports {
			imp := strings.Trim(spec.Path.Value, `"`)
			if to, ours := strings.CutPrefix(imp, module); ours {
				if floor(t, to) >= floor(t, from) {
					t.Errorf("%s must not import %s: it is not on a lower floor", file, to)
				}
				if only, some := visitors[to]; some && !match(only, from) {
					t.Errorf("%s must not import %s: only %q may", file, to, only)
				}
			} else if strings.Contains(imp, ".") && !match(owner(imp), from) {
				t.Errorf("%s must not import %s: only %q may", file, imp, owner(imp))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// floor returns how high pkg stands.
func floor(t *testing.T, pkg string) int {
	for i, pkgs := range floors {
		if match(pkgs, pkg) {
			return i
		}
	}
	t.Fatalf("%s stands on no floor: add it to floors", pkg)
	return 0
}

// owner returns the packages that may import the outside package imp.
func owner(imp string) string {
	for mod, pkgs := range owners {
		if imp == mod || strings.HasPrefix(imp, mod+"/") {
			return pkgs
		}
	}
	return ""
}

func match(patterns, pkg string) bool {
	for _, p := range strings.Fields(patterns) {
		if ok, _ := path.Match(p, pkg); ok {
			return true
		}
	}
	return false
}
