package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/testenv/netns"
)

// worker is one of the workers that are tortured, which are a fleet when there are several.
type worker struct {
	*process
	url     string         // Of its REST interface.
	machine *netns.Machine // That it runs on, if it has one of its own.
}

// prepareWorkers writes the settings of the workers. The first one's files have the names
// that they have where there is no other.
func (w *World) prepareWorkers(context.Context) error {
	points, err := w.preparePoints(w.o.Points)
	if err != nil {
		return err
	}
	for n := range max(w.o.Workers, 1) {
		k, err := w.settle()
		if err != nil {
			return err
		}
		w.workers = append(w.workers, k)
		name, mark := "the worker", ""
		if n > 0 {
			mark = "-" + strconv.Itoa(n)
			name = "worker" + mark
		}
		file := w.file("worker" + mark + ".properties")
		if err := os.WriteFile(file, []byte(strings.Join(w.settings(k, mark), "\n")+"\n"), 0o600); err != nil {
			return err
		}
		k.process = newProcess(name, w.o.Binary, w.file("worker"+mark+".log"), "worker", "-c", file)
		k.env = append(points, w.o.Env...)
		if k.machine != nil {
			there := k.machine.Command(k.path, k.args...)
			k.path, k.args = there.Path, there.Args[1:]
		}
	}
	return nil
}

// settle finds a place for a worker: a port of the loopback, or a machine of its own.
func (w *World) settle() (*worker, error) {
	if w.o.Lan != nil {
		machine, err := w.o.Lan.Plug()
		if err != nil {
			return nil, err
		}
		return &worker{url: "http://" + machine.Address() + ":8083", machine: machine}, nil
	}
	port, err := devstack.FreePort()
	return &worker{url: "http://127.0.0.1:" + strconv.Itoa(port)}, err
}

// settings are those of one worker. mark tells its directories from those of others.
func (w *World) settings(k *worker, mark string) []string {
	support := "disabled"
	if w.o.ExactlyOnce {
		support = "enabled"
	}
	avro := "io.confluent.connect.avro.AvroConverter"
	// Offsets have as many partitions as by default: those of two connectors that shared one
	// would hide each other's while a transaction is open.
	list := []string{
		"bootstrap.servers=" + w.toKafka.Addr(), "group.id=torture", "listeners=" + k.url,
		"key.converter=" + avro, "key.converter.schema.registry.url=" + w.sick.url,
		"value.converter=" + avro, "value.converter.schema.registry.url=" + w.sick.url,
		"config.storage.topic=" + configsTopic, "config.storage.replication.factor=1",
		"offset.storage.topic=" + offsetsTopic, "offset.storage.replication.factor=1", "offset.storage.partitions=25",
		"status.storage.topic=" + statusTopic, "status.storage.replication.factor=1", "status.storage.partitions=1",
		"exactly.once.source.support=" + support, "topic.creation.enable=true",
		"plugin.state.dir=" + w.file("plugins"+mark), "ksql.service.id=torture_", "ksql.streams.state.dir=" + w.file("state"+mark), "ksql.schema.registry.url=" + w.sick.url,
	}
	if k.machine != nil {
		// Others reach it: whoever has the bridge may do everything, and workers ask each other for rows.
		list = append(list, "rest.insecure=true", "ksql.internal.listener="+k.machine.Address()+":8084", "ksql.internal.secret="+w.secret)
	}
	return list
}

// worker is the one that a fault befalls.
func (w *World) worker(f Fault) *worker {
	return w.workers[f.Pick>>40%uint64(len(w.workers))]
}

// endWorkers ends all workers with sig; they stay down until releaseWorkers.
func (w *World) endWorkers(ctx context.Context, sig syscall.Signal) error {
	for _, k := range w.workers {
		if err := k.end(ctx, sig, true); err != nil {
			return err
		}
	}
	return nil
}

// stopWorkers ends all workers in an orderly way; they stay down until releaseWorkers.
func (w *World) stopWorkers(ctx context.Context, patience time.Duration) error {
	for _, k := range w.workers {
		if err := k.stop(ctx, patience); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) releaseWorkers() {
	for _, k := range w.workers {
		k.release()
	}
}

// ForgetState has the workers end in an orderly way and start again without what they keep
// on their disks of the tables that SQL derives.
func (w *World) ForgetState(ctx context.Context) error {
	if err := w.stopWorkers(ctx, stopPatience); err != nil {
		return err
	}
	list, err := filepath.Glob(w.file("state*"))
	for _, dir := range list {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return err
	}
	w.releaseWorkers()
	return w.Ready(ctx)
}

// Ready returns when all workers take requests.
func (w *World) Ready(ctx context.Context) error {
	for _, k := range w.workers {
		for w.ask(ctx, k, callTime, request{"GET", "/health", nil}, nil) != nil {
			if !pause(ctx, 20*time.Millisecond) {
				return fmt.Errorf("waiting for %s to be ready: %w\n%s", k.name, context.Cause(ctx), tail(k.log, 2000)+"\n"+tail(w.file("broker.log"), 2000))
			}
		}
	}
	return nil
}

// Dump has the workers write what their goroutines do to their logs, and end.
func (w *World) Dump(ctx context.Context) {
	w.o.Journal.Say("dump", "the logs of the workers have what their goroutines did")
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	for _, k := range w.workers {
		_ = w.bounce(ctx, k.process, syscall.SIGQUIT, 0) // It is a help for people alone.
	}
}

// Logs returns the names of the files that the output of the workers and of the fleet is in.
func (w *World) Logs() []string {
	var names []string
	for _, k := range w.workers {
		names = append(names, filepath.Base(k.log))
	}
	for _, s := range w.ships {
		names = append(names, filepath.Base(s.log))
	}
	return names
}
