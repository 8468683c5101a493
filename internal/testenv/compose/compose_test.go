// Package compose_test reads docker-compose.yml and what it mounts as a compose
// engine would, because an engine is not at hand everywhere.
package compose_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/worker"
)

const root = "../../.."

// service holds the keys that the file uses; an unknown one is an error.
type service struct {
	Image   string `yaml:"image"`
	Restart string `yaml:"restart"`
	Stop    string `yaml:"stop_grace_period"`
	Build   struct {
		Context string            `yaml:"context"`
		Args    map[string]string `yaml:"args"`
	} `yaml:"build"`
	Command     []string          `yaml:"command"`
	Profiles    []string          `yaml:"profiles"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Healthcheck *struct {
		Test     []string `yaml:"test"`
		Interval string   `yaml:"interval"`
		Timeout  string   `yaml:"timeout"`
		Retries  int      `yaml:"retries"`
		Start    string   `yaml:"start_period"`
	} `yaml:"healthcheck"`
}

type composition struct {
	Name     string             `yaml:"name"`
	Worker   service            `yaml:"x-worker"`
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

func load(t *testing.T) composition {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var c composition
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestServices checks each service by itself and what it names.
func TestServices(t *testing.T) {
	c := load(t)
	port := regexp.MustCompile(`^127\.0\.0\.1:(\d+):\d+$`)
	taken := map[string]string{}
	for name, s := range c.Services {
		if s.Image == "" || s.Healthcheck == nil || len(s.Healthcheck.Test) < 2 || s.Healthcheck.Test[0] != "CMD" {
			t.Errorf("%s needs an image with a version and a health check", name)
		}
		if _, tag, _ := strings.Cut(s.Image, ":"); tag == "" || tag == "latest" {
			t.Errorf("%s: the image %s has no version", name, s.Image)
		}
		for dep, how := range s.DependsOn {
			if on, ok := c.Services[dep]; !ok || how.Condition != "service_healthy" || len(on.Profiles) > 0 && !slices.Equal(on.Profiles, s.Profiles) {
				t.Errorf("%s depends on %s (%s)", name, dep, how.Condition)
			}
		}
		for _, p := range s.Ports {
			m := port.FindStringSubmatch(p)
			if m == nil || taken[m[1]] != "" {
				t.Errorf("%s publishes %s: taken, or not on the loopback interface alone", name, p)
				continue
			}
			taken[m[1]] = name
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			_, named := c.Volumes[source]
			if _, err := os.Stat(filepath.Join(root, source)); !named && (!strings.HasPrefix(source, "./") || err != nil) {
				t.Errorf("%s mounts %s, which is neither a volume nor a file", name, source)
			}
		}
	}
	if !slices.Contains(c.Services["postgres"].Command, "wal_level=logical") {
		t.Error("PostgreSQL does not decode")
	}
}

// TestWorkers reads the workers' settings as the workers do.
func TestWorkers(t *testing.T) {
	c := load(t)
	for _, name := range []string{"worker-1", "worker-2"} {
		s := c.Services[name]
		if !slices.Equal(s.Command, []string{"worker", "-c", "/etc/tidemill/connect-distributed.properties"}) {
			t.Errorf("%s runs %q", name, s.Command)
		}
		var environ []string
		for k, v := range s.Environment {
			environ = append(environ, k+"="+v)
		}
		settings, err := config.Load(config.Sources{File: filepath.Join(root, "deploy", "connect-distributed.properties"), Environ: environ})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := worker.ConfigDef().Parse(settings.Config); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := settings.Config["rest.advertised.host.name"]; got != name {
			t.Errorf("%s advertises itself as %q", name, got)
		}
	}
}

// TestMountedFiles parses what the monitoring services read.
func TestMountedFiles(t *testing.T) {
	for _, pattern := range []string{"deploy/*.yml", "deploy/grafana/*.yml", "deploy/grafana/dashboards/*.json"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var v any
			if strings.HasSuffix(file, ".json") {
				err = json.Unmarshal(text, &v)
			} else {
				err = yaml.Unmarshal(text, &v)
			}
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// TestDockerfile wants what the image copies to exist, and a user without rights.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	user := ""
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
		case fields[0] == "USER":
			user = fields[1]
		case fields[0] == "COPY" && !strings.HasPrefix(fields[1], "--"):
			for _, source := range fields[1 : len(fields)-1] {
				if _, err := os.Stat(filepath.Join(root, source)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("the image runs as %q", user)
	}
}
