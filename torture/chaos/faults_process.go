package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// A worker that was told to stop has this long to do it.
const stopPatience = 30 * time.Second

func workerFaults() []class {
	return []class{
		{"w.kill", 4, 0, 500 * ms, func(w *World, ctx context.Context, f Fault) error {
			return w.bounce(ctx, w.worker(f).process, syscall.SIGKILL, f.Hold)
		}},
		{"w.term", 2, 0, 0, (*World).terminateWorker},
		{"w.stop", 2, 100 * ms, 10 * time.Second, func(w *World, ctx context.Context, f Fault) error {
			w.worker(f).signal(syscall.SIGSTOP, false)
			defer w.worker(f).signal(syscall.SIGCONT, false)
			pause(ctx, f.Hold)
			return nil
		}},
		{"w.burst", 1, 0, 0, func(w *World, ctx context.Context, f Fault) error {
			const kills = 3 // As fast as it comes up again.
			for range kills {
				if err := w.bounce(ctx, w.worker(f).process, syscall.SIGKILL, 0); err != nil {
					return err
				}
				pause(ctx, time.Duration(f.Pick%300)*ms)
			}
			return nil
		}},
	}
}

// bounce ends a process, leaves it down for a while and has it started again.
func (w *World) bounce(ctx context.Context, p *process, sig syscall.Signal, down time.Duration) error {
	if err := p.end(ctx, sig, true); err != nil {
		return err
	}
	pause(ctx, down)
	p.release()
	return p.wait(ctx, func() bool { return p.cmd != nil })
}

// terminateWorker has the worker end in an orderly way, which must not take for ever.
func (w *World) terminateWorker(ctx context.Context, f Fault) error {
	polite, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	err := w.bounce(polite, w.worker(f).process, syscall.SIGTERM, 0)
	if err != nil && ctx.Err() == nil {
		w.o.Journal.Found(AnomalyStuck, "the worker did not stop within %v of SIGTERM", stopPatience)
		return w.bounce(ctx, w.worker(f).process, syscall.SIGQUIT, 0) // Which writes what its goroutines do.
	}
	return err
}

func postgresFaults() []class {
	return []class{
		{"pg.crash", 3, 0, time.Second, func(w *World, ctx context.Context, f Fault) error {
			return w.crashPostgres(ctx, syscall.SIGQUIT, f.Hold)
		}},
		{"pg.kill9", 2, 0, 500 * ms, func(w *World, ctx context.Context, f Fault) error {
			return w.crashPostgres(ctx, syscall.SIGKILL, f.Hold)
		}},
		{"pg.fast", 2, 0, 0, func(w *World, ctx context.Context, _ Fault) error { return w.restartPostgres(ctx) }},
		{"ws.kill", 2, 0, 0, (*World).killWalsender},
	}
}

// killWalsender ends the server process that streams to the connector, if there is one.
func (w *World) killWalsender(ctx context.Context, _ Fault) error {
	conn, err := w.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL")
	return err
}

func comboFaults() []class {
	return []class{
		// A worker that stands still while what it talks to goes away.
		{"w.stop+pg.crash", 1, 300 * ms, 3 * time.Second, func(w *World, ctx context.Context, f Fault) error {
			w.worker(f).signal(syscall.SIGSTOP, false)
			defer w.worker(f).signal(syscall.SIGCONT, false)
			err := w.crashPostgres(ctx, syscall.SIGQUIT, 0)
			pause(ctx, f.Hold)
			return err
		}},
		{"w.stop+kf.kill", 1, 300 * ms, 3 * time.Second, func(w *World, ctx context.Context, f Fault) error {
			w.worker(f).signal(syscall.SIGSTOP, false)
			defer w.worker(f).signal(syscall.SIGCONT, false)
			err := w.bounceBroker(ctx, 0)
			pause(ctx, f.Hold)
			return err
		}},
		{"w.kill+kf.kill", 1, 0, 300 * ms, func(w *World, ctx context.Context, f Fault) error {
			err := w.worker(f).end(ctx, syscall.SIGKILL, true)
			err = errors.Join(err, w.bounce(ctx, w.broker, syscall.SIGKILL, f.Hold))
			w.worker(f).release()
			return err
		}},
		{"w.kill+pg.crash", 1, 0, 300 * ms, func(w *World, ctx context.Context, f Fault) error {
			err := w.worker(f).end(ctx, syscall.SIGKILL, true)
			err = errors.Join(err, w.crashPostgres(ctx, syscall.SIGQUIT, f.Hold))
			w.worker(f).release()
			return err
		}},
		// A worker that is killed while the broker has taken the records of all topics but one.
		{"kf.part+w.kill", 1, 50 * ms, 400 * ms, func(w *World, ctx context.Context, f Fault) error {
			f.Pick = 0
			if err := w.refuseTopic(ctx, f); err != nil {
				return err
			}
			return w.bounce(ctx, w.worker(f).process, syscall.SIGKILL, 0)
		}},
		// The server's connection ends while what came by it waits for a broker that is silent.
		{"px-kafka.hole+ws.kill", 1, time.Second, 4 * time.Second, func(w *World, ctx context.Context, f Fault) error {
			w.toKafka.Set(stalled(true))
			defer w.toKafka.Set(stalled(false))
			pause(ctx, f.Hold)
			err := w.killWalsender(ctx, f)
			// The worker notices it by the second report that it cannot send.
			pause(ctx, 2500*ms)
			return err
		}},
		// Everything falls silent, one after the other, and comes back in some order.
		{"swizzle", 1, 200 * ms, 2 * time.Second, (*World).swizzle},
	}
}

func kafkaFaults() []class {
	return []class{
		{"kf.kill", 3, 0, time.Second, func(w *World, ctx context.Context, f Fault) error {
			return w.bounceBroker(ctx, f.Hold)
		}},
		{"kf.err", 4, 300 * ms, 1500 * ms, (*World).failKafka},
		{"kf.part", 1, 50 * ms, 400 * ms, (*World).refuseTopic},
	}
}

// refuseTopic has the broker refuse the records of one topic, while it takes those of
// others: in a way that clients try again (NOT_LEADER_OR_FOLLOWER), or in one that fails
// the records (UNKNOWN_SERVER_ERROR).
func (w *World) refuseTopic(ctx context.Context, f Fault) error {
	const always = 1000
	code := []int{6, -1}[f.Pick%2]
	w.o.Journal.Say("refusal", "the accounts with %d", code)
	body := fmt.Sprintf(`{"api":"Produce","code":%d,"times":%d,"ms":%d,"topic":"storm.public.acct"}`, code, always, f.Hold.Milliseconds())
	if err := w.order(ctx, body); err != nil {
		return err
	}
	pause(ctx, f.Hold)
	return nil
}

// order tells the broker what to refuse, once it takes orders: it may just have been
// killed.
func (w *World) order(ctx context.Context, body string) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	for {
		err := send(ctx, http.MethodPost, "http://"+w.faultsAddr+"/fail", body)
		if err == nil || !pause(ctx, 20*ms) {
			return err
		}
	}
}

// bounceBroker ends the broker while the worker lives. With exactly-once it is killed.
// Without, it is asked to end: the embedded broker keeps the sequence numbers of
// producers only then, where Apache Kafka finds them in its log again, and a broker
// that has forgotten them takes a repeated request behind a later one.
func (w *World) bounceBroker(ctx context.Context, down time.Duration) error {
	sig := syscall.SIGTERM
	if w.o.ExactlyOnce {
		sig = syscall.SIGKILL
	}
	return w.bounce(ctx, w.broker, sig, down)
}

// refusal is an error that a broker may answer a request with.
type refusal struct {
	api   string
	codes []int16
}

// refusals are those that a client has to go on after; 0 closes the connection. The
// numbers are those of https://kafka.apache.org/protocol#protocol_error_codes.
var refusals = []refusal{
	{"Produce", []int16{0, 5, 6, 7, 13, 19, 56}}, // LEADER_NOT_AVAILABLE, NOT_LEADER, REQUEST_TIMED_OUT, NETWORK_EXCEPTION, NOT_ENOUGH_REPLICAS, KAFKA_STORAGE_ERROR
	{"EndTxn", []int16{0, 14, 15, 16, 51}},       // COORDINATOR_LOAD_IN_PROGRESS, …_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS
	{"AddPartitionsToTxn", []int16{0, 14, 15, 16, 51}},
	{"InitProducerID", []int16{0, 14, 15, 16, 51}},
	{"AddOffsetsToTxn", []int16{0, 14, 15, 16, 51}},
	{"FindCoordinator", []int16{0, 15}},
	{"OffsetCommit", []int16{0, 14, 15, 16}},
}

// failKafka has the broker refuse some requests of one kind.
func (w *World) failKafka(ctx context.Context, f Fault) error {
	r := refusals[f.Pick%uint64(len(refusals))]
	code := r.codes[f.Pick/7%uint64(len(r.codes))]
	times := 1 + f.Pick/64%5
	w.o.Journal.Say("refusal", "%d of %s with %d", times, r.api, code)
	body := fmt.Sprintf(`{"api":%q,"code":%d,"times":%d,"ms":%d}`, r.api, code, times, f.Hold.Milliseconds())
	if err := w.order(ctx, body); err != nil {
		return err
	}
	pause(ctx, f.Hold)
	return nil
}
