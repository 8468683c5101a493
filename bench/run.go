package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// run is everything one run says: where, with what, and the figures.
type run struct {
	Machine  machine            `json:"machine"`
	Settings map[string]string  `json:"settings"`
	Took     map[string]float64 `json:"took_s"` // Of each part, in seconds.
	Figures  []figure           `json:"figures"`
}

// machine is what a run ran on.
type machine struct {
	Date      string  `json:"date"`
	Processor string  `json:"processor"`
	Cores     int     `json:"cores"`
	MemoryGB  float64 `json:"memory_gb"`
	System    string  `json:"system"`
	Load      string  `json:"load_before"` // Of the machine, before the run: ought to be near nothing.
	Tidemill  string  `json:"tidemill"`
	Postgres  string  `json:"postgres"`
	Broker    string  `json:"broker"`
	Java      string  `json:"java,omitempty"`
	Connect   string  `json:"connect,omitempty"`
	Debezium  string  `json:"debezium,omitempty"`
	// KafkaStreams is the version of Kafka Streams that a run compares with.
	KafkaStreams string `json:"kafka_streams,omitempty"`
}

func newRun(ctx context.Context, c *command) *run {
	version := "unknown"
	if out, err := exec.CommandContext(ctx, c.binary, "version").Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	settings := map[string]string{"rounds": fmt.Sprint(c.rounds), "rows": grouped(fmt.Sprint(c.rows))}
	for name, value := range serverSettings {
		settings["postgres."+name] = value
	}
	return &run{
		Machine: machine{
			Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Processor: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(),
			MemoryGB: totalMemory(), System: system(), Load: load1(), Tidemill: version,
		},
		Settings: settings, Took: map[string]float64{}, Figures: []figure{},
	}
}

// field returns the first value of a name in a file of lines "name : value".
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func totalMemory() float64 {
	var kb float64
	_, _ = fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%f kB", &kb)
	return kb / (1 << 20)
}

// system names the operating system and its kernel.
func system() string {
	text, _ := os.ReadFile("/etc/os-release")
	name := runtime.GOOS
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			name = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(name + ", Linux " + strings.TrimSpace(string(kernel)))
}

// load1 is the machine's load average of the last minute.
func load1() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// write writes the run to a file, or its figures alone.
func (r *run) write(file string, figuresAlone bool) error {
	if file == "" {
		return nil
	}
	var what any = r
	if figuresAlone {
		what = r.Figures
	}
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
