// Command bench measures tidemill as a user meets it, whole processes over TCP, and
// prints each figure beside a limit that was measured in the same run:
//
//	go run ./bench                       every part
//	go run ./bench --only stream,idle    some parts
//	go run ./bench --json                one JSON array
//	go run ./bench --quick               small sizes, within a minute
//	go run ./bench --only debezium       the comparison with Debezium (Java and Maven)
//	go run ./bench --only kstreams       the comparison with Kafka Streams (Java and Maven)
//	go run ./bench --report FILE…        docs/performance.md from earlier runs
//
// Machines differ and so do two runs on one machine; the ratios differ less. The parts
// are listed in [parts]; README.md tells how to read what they print.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// part is one measurement.
type part struct {
	name, what string
	run        func(ctx context.Context, o options) error
	// optional parts run only when they are named.
	optional bool
}

var parts = []part{
	{"stream", "changes per second from a slot to the last record in Kafka, transactions of 1, 100, 1000 and all rows", benchSizes, false},
	{"eos", "the same with exactly-once delivery, against at least once", benchExactlyOnce, false},
	{"loads", "the same for updates, pgbench, rows of 100 columns, large values and 1,000 tables", benchLoads, false},
	{"snapshot", "rows per second of a first copy until the last record is in Kafka", benchSnapshot, false},
	{"tables", "a first copy of 1,000 small tables", benchTables, false},
	{"latency", "time from commit to a consumer at a fixed rate", benchLatency, false},
	{"giant", "memory while one very large transaction is streamed", benchGiant, false},
	{"idle", "time until the worker is ready, and what it takes with nothing to do", benchIdle, false},
	{"connectors", "many connectors with nothing to do: to make, start, list and validate them, and to share them among workers", benchConnectors, false},
	{"demo", "time of `tidemill demo --once`", benchDemo, false},
	{"streams", "applications of the streams engine beside a bare loop over the same records: a rate for each core", benchStreams, false},
	{"debezium", "the same loads through Debezium in Kafka Connect, and through tidemill, on one Apache Kafka", benchDebezium, true},
	{"kstreams", "the same applications in Kafka Streams, and in tidemill, on one Apache Kafka", benchKStreams, true},
}

// options are what the command line says, and where figures go.
type options struct {
	binary    string
	rows      int
	rounds    int
	giantRows int
	rate      int           // Transactions a second of the latency measurement.
	latency   time.Duration // How long that goes on.
	idle      time.Duration // How long a worker with nothing to do is looked at.
	sizes     []string      // Of the transactions to stream.
	eosSizes  []string
	streams   []string // The loads of the streams engine; all when empty.
	once      bool     // Those are measured in one round.
	stateMB   int      // The size of the state that is taken over and restored.
	kafka     string
	// The comparison with Debezium.
	heap         string
	debeziumRows int
	// The comparison with Kafka Streams.
	kstreamsHeap string
	kstreamsRows int
	quiet        bool
	run          *run
	show         func(figure)
}

// report keeps a figure of the run and shows it.
func (o options) report(f figure) {
	o.run.Figures = append(o.run.Figures, f)
	o.show(f)
}

// command is the whole command line.
type command struct {
	options
	only, out            string
	asJSON, quick, pages bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := parse().execute(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() *command {
	c := &command{}
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	flag.StringVar(&c.only, "only", "", "the parts to run, separated by commas: "+strings.Join(names, ", "))
	flag.BoolVar(&c.asJSON, "json", false, "print one JSON array instead of a table")
	flag.BoolVar(&c.quick, "quick", false, "small sizes and few parts, within a minute; --out gets the array of figures alone")
	flag.BoolVar(&c.pages, "report", false, "write docs/performance.md and its plots from the files of earlier runs")
	flag.StringVar(&c.out, "out", "", "write the run, or the report, here (a report's default is docs/performance.md)")
	flag.StringVar(&c.binary, "binary", "bin/tidemill", "the binary to measure")
	flag.IntVar(&c.rows, "rows", 1_000_000, "changes to stream and rows to snapshot")
	flag.IntVar(&c.rounds, "rounds", 3, "rounds of each measurement; medians are printed")
	flag.IntVar(&c.giantRows, "giant-rows", 5_000_000, "rows of the giant transaction")
	flag.IntVar(&c.rate, "rate", 1000, "transactions a second of the latency measurement")
	flag.DurationVar(&c.latency, "latency-for", 10*time.Second, "how long latency is measured")
	flag.DurationVar(&c.idle, "idle-for", 3*time.Second, "how long a worker with nothing to do is looked at")
	flag.StringVar(&c.kafka, "kafka", os.Getenv("TIDEMILL_TEST_BROKERS"), "the broker: embedded (the default), apache (Maven resolves it), or host:port")
	flag.StringVar(&c.heap, "heap", "-Xms256M -Xmx2G", "the heap of Kafka Connect's process; the default is that of its own start script")
	flag.IntVar(&c.debeziumRows, "debezium-rows", 150_000, "changes and rows of the comparison with Debezium")
	flag.StringVar(&c.kstreamsHeap, "kstreams-heap", "-Xms256M -Xmx1G", "the heap of the process of Kafka Streams")
	flag.IntVar(&c.kstreamsRows, "kstreams-rows", 500_000, "records of the comparison with Kafka Streams")
	flag.IntVar(&c.stateMB, "state-mb", 200, "the size of the state that a standby takes over and that is restored, in MB of keys and rows")
	loads := flag.String("streams", "", "the loads of the streams engine to run, separated by commas: stateless, count.uniform, count.hot, join.table, join.stream, window, window.session, window.sliding, large, restore, takeover, query, query.remote")
	sizes := flag.String("tx", "1000,all,100,1", "sizes of the transactions to stream, in rows")
	flag.Parse()
	c.sizes, c.eosSizes = strings.Split(*sizes, ","), []string{"1000", "100"}
	if *loads != "" {
		c.streams = strings.Split(*loads, ",")
	}
	if c.quick {
		c.shrink()
	}
	return c
}

// shrink sets what the quick run measures, except where the command line says it.
func (c *command) shrink() {
	said := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { said[f.Name] = true })
	if !said["rows"] {
		c.rows = 120_000
	}
	if !said["latency-for"] {
		c.latency = 2 * time.Second
	}
	if !said["idle-for"] {
		c.idle = time.Second
	}
	if !said["tx"] {
		c.sizes = []string{"1000", "1"}
	}
	if !said["only"] {
		c.only = "stream,eos,snapshot,latency,idle,streams"
	}
	if !said["streams"] {
		c.streams = []string{"stateless", "count.hot", "join.stream", "restore"}
	}
	c.once = !said["rounds"]
	c.eosSizes = []string{"1000"}
}

func (c *command) execute(ctx context.Context) error {
	if c.pages {
		return writeReport(flag.Args(), c.out)
	}
	chosen, err := choose(c.only)
	if err != nil {
		return err
	}
	c.run = newRun(ctx, c)
	c.quiet = c.asJSON
	if c.show = func(figure) {}; !c.quiet {
		c.show = printFigure
	}
	for _, p := range chosen {
		began := time.Now()
		if !c.asJSON {
			fmt.Printf("\n%s: %s\n", p.name, p.what)
		}
		if err := p.run(ctx, c.options); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		c.run.Took[p.name] = time.Since(began).Round(time.Second / 10).Seconds()
	}
	if c.asJSON {
		if err := json.NewEncoder(os.Stdout).Encode(c.run.Figures); err != nil {
			return err
		}
	}
	return c.run.write(c.out, c.quick)
}

// choose returns the parts of a list of names, or those that run unasked.
func choose(only string) ([]part, error) {
	var chosen []part
	if only == "" {
		for _, p := range parts {
			if !p.optional {
				chosen = append(chosen, p)
			}
		}
		return chosen, nil
	}
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q; see --help", name)
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}
