package chaos

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// sigDump has a program of Go write what its goroutines do, and end.
const sigDump = syscall.SIGQUIT

// fleetFaults are those of the processes of a streams application. They wait for six
// seconds before they take the place of one that is silent: some of these last longer.
func fleetFaults() []class {
	on := func(do func(*World, context.Context, *ship, Fault) error) func(*World, context.Context, Fault) error {
		return func(w *World, ctx context.Context, f Fault) error {
			if len(w.ships) == 0 {
				return fmt.Errorf("there is no fleet")
			}
			return do(w, ctx, w.ships[f.Pick%uint64(len(w.ships))], f)
		}
	}
	under := func(c func(Fault) proxy.Conditions) func(*World, context.Context, Fault) error {
		return on(func(_ *World, ctx context.Context, s *ship, f Fault) error {
			s.toKafka.Set(c(f))
			defer s.toKafka.Set(proxy.Conditions{})
			pause(ctx, f.Hold)
			return nil
		})
	}
	return []class{
		{"s.kill", 4, 0, 500 * ms, on(func(w *World, ctx context.Context, s *ship, f Fault) error {
			return w.bounce(ctx, s.process, syscall.SIGKILL, f.Hold)
		})},
		{"s.burst", 2, 0, 0, on(burst)},
		{"s.term", 1, 0, 0, on(func(w *World, ctx context.Context, s *ship, _ Fault) error {
			defer s.release()
			return w.dock(ctx, s)
		})},
		{"s.away", 1, 4 * time.Second, 9 * time.Second, on(func(w *World, ctx context.Context, s *ship, f Fault) error {
			return w.bounce(ctx, s.process, syscall.SIGKILL, f.Hold)
		})},
		{"s.wipe", 1, 0, 500 * ms, on(wipe)},
		{"s.stop", 3, 100 * ms, 11 * time.Second, on(func(_ *World, ctx context.Context, s *ship, f Fault) error {
			s.signal(syscall.SIGSTOP, false)
			defer s.signal(syscall.SIGCONT, false)
			pause(ctx, f.Hold)
			return nil
		})},
		{"s.stop+s.kill", 1, 500 * ms, 9 * time.Second, on(stopAndKill)},
		{"s.cut", 1, 0, 500 * ms, on(func(_ *World, ctx context.Context, s *ship, f Fault) error {
			s.toKafka.Set(proxy.Conditions{Refuse: true})
			defer s.toKafka.Set(proxy.Conditions{})
			s.toKafka.Cut()
			pause(ctx, f.Hold)
			return nil
		})},
		{"s.hole", 2, 200 * ms, 10 * time.Second, under(func(Fault) proxy.Conditions { return proxy.Conditions{Stall: proxy.Both} })},
		{"s.half", 1, 200 * ms, 8 * time.Second, on(func(_ *World, ctx context.Context, s *ship, f Fault) error {
			return halfOpen(ctx, s.toKafka, f)
		})},
		{"s.slow", 1, 500 * ms, 2 * time.Second, under(func(f Fault) proxy.Conditions {
			return proxy.Conditions{Delay: time.Duration(20+f.Pick%180) * ms}
		})},
		{"s.kill+kf.kill", 1, 0, 300 * ms, on(func(w *World, ctx context.Context, s *ship, f Fault) error {
			if err := s.end(ctx, syscall.SIGKILL, true); err != nil {
				return err
			}
			defer s.release()
			return w.bounceBroker(ctx, f.Hold)
		})},
	}
}

// burst kills one process three times in a row, or all of them at once.
func burst(w *World, ctx context.Context, s *ship, f Fault) error {
	list := []*ship{s, s, s}
	if f.Pick/8%2 == 0 {
		list = w.ships
	}
	for _, s := range list {
		if err := w.bounce(ctx, s.process, syscall.SIGKILL, 0); err != nil {
			return err
		}
		pause(ctx, time.Duration(f.Pick/16%300)*ms)
	}
	return nil
}

// wipe kills a process and takes it its state.
func wipe(_ *World, ctx context.Context, s *ship, f Fault) error {
	if err := s.end(ctx, syscall.SIGKILL, true); err != nil {
		return err
	}
	defer s.release()
	pause(ctx, f.Hold)
	return os.RemoveAll(s.dir)
}

// stopAndKill kills a process while another one stands still, which comes back to a group
// that has dealt the work out anew.
func stopAndKill(w *World, ctx context.Context, s *ship, f Fault) error {
	s.signal(syscall.SIGSTOP, false)
	defer s.signal(syscall.SIGCONT, false)
	pause(ctx, f.Hold/2)
	err := w.bounce(ctx, w.ships[(f.Pick+1)%uint64(len(w.ships))].process, syscall.SIGKILL, 0)
	pause(ctx, f.Hold/2)
	return err
}
