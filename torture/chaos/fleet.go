package chaos

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// FleetOptions say what processes to run beside the worker.
type FleetOptions struct {
	// Binary is the program, with the command "fleet".
	Binary string
	// Size is the number of processes.
	Size int
	// Prefix is that of the topics of changes.
	Prefix string
	// Topics are made before, each with so many partitions.
	Topics map[string]int32
}

// ship is one process of a fleet, with a network of its own.
type ship struct {
	*process
	toKafka *proxy.Proxy
	dir     string // Where it keeps its state.
}

// StartFleet starts processes of a streams application. They end with the world. It is
// called once at most, by the goroutine that does the faults.
func (w *World) StartFleet(ctx context.Context, o FleetOptions) error {
	if err := w.makeTopics(ctx, o.Topics); err != nil {
		return err
	}
	var logs []*logWatch
	for n := range o.Size {
		toKafka, err := proxy.New(w.brokerAddr, proxy.Options{})
		if err != nil {
			return err
		}
		name := fmt.Sprintf("fleet-%d", n)
		s := &ship{toKafka: toKafka, dir: w.file(name)}
		s.process = newProcess(name, o.Binary, w.file(name+".log"), "fleet", "-broker", w.toKafka.Addr(), "-via", toKafka.Addr(),
			"-registry", w.registry.URL(), "-prefix", o.Prefix, "-dir", s.dir, "-instance", name)
		s.said = func(what, text string) { w.o.Journal.Say(what, "%s", text) }
		w.ships = append(w.ships, s)
		logs = append(logs, &logWatch{file: s.log, name: s.name})
		w.group.Go(func() error { return s.run(w.life) })
	}
	w.aboard.Store(&logs)
	return nil
}

// makeTopics makes topics that are not there.
func (w *World) makeTopics(ctx context.Context, list map[string]int32) error {
	client, err := kgo.NewClient(w.Direct()...)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for name, partitions := range list {
		resp, err := admin.CreateTopic(ctx, partitions, -1, nil, name)
		if err == nil {
			err = resp.Err
		}
		if err != nil {
			return fmt.Errorf("making the topic %s: %w", name, err)
		}
	}
	return nil
}

// ForgetFleet has the processes of the fleet end in an orderly way and start again, the
// first of them without what it keeps on its disk.
func (w *World) ForgetFleet(ctx context.Context) error {
	for _, s := range w.ships {
		if err := w.dock(ctx, s); err != nil {
			return err
		}
	}
	defer func() {
		for _, s := range w.ships {
			s.release()
		}
	}()
	return os.RemoveAll(w.ships[0].dir)
}

// dock has a process of the fleet end in an orderly way, which must not take for ever, and
// stay down.
func (w *World) dock(ctx context.Context, s *ship) error {
	polite, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	err := s.end(polite, syscall.SIGTERM, true)
	if err != nil && ctx.Err() == nil {
		w.o.Journal.Found(AnomalyStreamStuck, "%s did not stop within %v of SIGTERM", s.name, stopPatience)
		return s.end(ctx, sigDump, true)
	}
	return err
}

// DumpFleet has all processes of the fleet write what their goroutines do to their logs,
// and end.
func (w *World) DumpFleet(ctx context.Context) {
	w.o.Journal.Say("dump", "the fleet's logs have what its goroutines did")
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	for _, s := range w.ships {
		_ = w.bounce(ctx, s.process, sigDump, 0) // It is a help for people alone.
	}
}
