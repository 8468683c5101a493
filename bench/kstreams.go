package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/bench/apps"
	"github.com/tidemill/tidemill/streams/serde"
)

// What the comparison with Kafka Streams runs on the other side.
const (
	kstreamsPOM    = "bench/kstreams/pom.xml"
	kstreamsSource = "bench/kstreams/Application.java"
	kstreamsName   = "Kafka Streams"
)

// What the project wants of the comparison: the throughput for each second of processor
// time, and the memory.
const (
	kstreamsRate   = 1.5
	kstreamsMemory = 0.25
)

// guarantee is one of the two modes, with the same commit interval on both sides.
type guarantee struct {
	name, what, setting string
	commit              time.Duration
}

var guarantees = []guarantee{
	{"alo", "at least once, a commit each second", "at_least_once", time.Second},
	{"eos", "exactly once, ten commits a second", "exactly_once_v2", 100 * time.Millisecond},
}

// kstreams is an application of Kafka Streams, ready to be started.
type kstreams struct {
	path string // The class path.
	heap string
	// schemas are the arguments that name the schemas of the records, each an id and the
	// file it is in.
	schemas []string
}

// benchKStreams runs the same topologies in Kafka Streams and in tidemill: the same
// broker, records and commit intervals, in turn. Both have processed as many records
// before as are measured then, so that the Java machine has compiled what it will.
func benchKStreams(ctx context.Context, o options) error {
	if o.kafka == "" {
		o.kafka = "apache"
	}
	b, err := newStreamsBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	java, err := b.kstreams(ctx, o.kstreamsHeap)
	if err != nil {
		return err
	}
	o.announceKStreams(ctx, b, java)
	for _, l := range streamsLoads(o.kstreamsRows) {
		if l.most > 0 || !o.wants(l.name) {
			continue
		}
		for _, g := range guarantees {
			if err := b.beside(ctx, o, l, g, java); err != nil {
				return fmt.Errorf("%s, %s: %w", l.name, g.what, err)
			}
		}
	}
	return nil
}

// announceKStreams says what is compared, so that nobody has to guess.
func (o options) announceKStreams(ctx context.Context, b *streamsBed, java kstreams) {
	m, s := &o.run.Machine, o.run.Settings
	m.Broker, m.Java, m.KafkaStreams = b.broker.name, javaVersion(ctx), versionOf(java.path, "kafka-streams")
	s["kstreams.jvm"] = java.heap + " " + scriptFlags
	s["kstreams.rows"] = grouped(fmt.Sprint(o.kstreamsRows))
	s["kstreams.settings"] = "its defaults, one stream thread, and topology.optimization=all; both sides with one partition, state on disk and 10 MiB of write-back cache"
	s["kstreams.tidemill"] = "its defaults, and gctuner.Start(), as in the tidemill program"
	s["kstreams.avro"] = "Apache Avro " + versionOf(java.path, "avro") + ", generic records, the schema known beforehand"
	for _, g := range guarantees {
		s["guarantee."+g.name] = g.what + fmt.Sprintf(": processing.guarantee=%s, commit.interval.ms=%d", g.setting, g.commit.Milliseconds())
	}
	if !o.quiet {
		fmt.Printf("  %s\n  Kafka Streams %s, %s\n  %s\n  %s\n", m.Tidemill, m.KafkaStreams, java.heap, m.Java, m.Broker)
	}
}

// beside measures one topology on both sides in turn.
func (b *streamsBed) beside(ctx context.Context, o options, l topologyLoad, g guarantee, java kstreams) error {
	ours := b.tidemill(l, 0, "--commit", g.commit.String(), fmt.Sprintf("--exactly-once=%v", g.name == "eos"))
	ours.warm = 1
	rs := rounds{n: o.kstreamsRows}
	var peak [2][]float64
	for range o.rounds {
		for i, p := range []program{ours, b.java(l, g, java)} {
			m, err := b.measure(ctx, l, p, o.kstreamsRows)
			if err != nil {
				return err
			}
			if peak[i] = append(peak[i], m.peak); i == 0 {
				rs.ours = append(rs.ours, m.round)
			} else {
				rs.limits = append(rs.limits, m.round)
			}
		}
	}
	f := rs.figure("kstreams."+l.name+"."+g.name, "records/s", kstreamsName)
	f.What, f.RSS, f.LimitRSS = l.what+"; "+g.what, slices.Max(peak[0]), slices.Max(peak[1])
	f.LimitBrokerCPU = of(rs.limits, func(r round) float64 { return perMillion(r.broker, rs.n) })
	o.report(f.besideKStreams())
	return nil
}

// besideKStreams holds processor time and memory against what the project wants.
func (f figure) besideKStreams() figure {
	met := f.LimitCPU >= kstreamsRate*f.CPU && f.RSS <= kstreamsMemory*f.LimitRSS
	f.Bound = fmt.Sprintf("≥ %g × for each processor second (%s ×), ≤ %g × the memory (%s ×)", kstreamsRate, number(f.LimitCPU/f.CPU), kstreamsMemory, number(f.RSS/f.LimitRSS))
	f.Met = &met
	return f
}

// java is an application of Kafka Streams with the flags of Apache Kafka's own start
// script.
func (b *streamsBed) java(l topologyLoad, g guarantee, java kstreams) program {
	return program{name: kstreamsName, warm: 1, command: func(t *trial, dir string) (string, []string) {
		args := append(strings.Fields(java.heap+" "+scriptFlags), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", java.path, "Application",
			"--topology", l.topology, "--id", t.name, "--inputs", strings.Join(t.inputs, ","), "--output", t.output, "--brokers", b.broker.addrs,
			"--dir", dir, "--guarantee", g.setting, "--commit", fmt.Sprint(g.commit.Milliseconds()))
		return "java", append(args, java.schemas...)
	}}
}

// kstreams lets Maven find the jars and compiles the application.
func (b *streamsBed) kstreams(ctx context.Context, heap string) (k kstreams, err error) {
	if k.path, err = classPath(ctx, kstreamsPOM, ""); err != nil {
		return k, err
	}
	classes := filepath.Join(b.dir, "classes")
	if out, err := exec.CommandContext(ctx, "javac", "-cp", k.path, "-d", classes, kstreamsSource).CombinedOutput(); err != nil {
		return k, fmt.Errorf("%w\njavac: %v\n%s", errJars, err, out)
	}
	k.path, k.heap = classes+string(filepath.ListSeparator)+k.path, heap
	for _, s := range []struct {
		name   string
		record func() ([]byte, error)
	}{
		{"order", func() ([]byte, error) { return serde.Bind(b.Order, "schemas", false).Append(nil, apps.Order{}) }},
		{"customer", func() ([]byte, error) {
			return serde.Bind(b.Customer, "schemas-customer", false).Append(nil, apps.Customer{})
		}},
		{"delivery", func() ([]byte, error) {
			return serde.Bind(b.Delivery, "schemas-delivery", false).Append(nil, apps.Delivery{})
		}},
	} {
		record, err := s.record()
		if err != nil {
			return k, err
		}
		place, err := b.schema(ctx, s.name, record)
		if err != nil {
			return k, err
		}
		k.schemas = append(k.schemas, "--"+s.name, place)
	}
	return k, nil
}

// schema saves the schema of a record to a file, and returns its id and the file.
func (b *streamsBed) schema(ctx context.Context, name string, record []byte) (place string, err error) {
	id := binary.BigEndian.Uint32(record[1:])
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/schemas/ids/%d", b.registry.URL(), id), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var answer struct{ Schema string }
	if err := json.Unmarshal(text, &answer); err != nil || answer.Schema == "" {
		return "", fmt.Errorf("the registry says %s of schema %d", text, id)
	}
	file := filepath.Join(b.dir, name+".avsc")
	return fmt.Sprintf("%d:%s", id, file), os.WriteFile(file, []byte(answer.Schema), 0o600)
}
