package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/testenv/netns"
)

// cableFaults are those of the cables of workers that have machines of their own. The
// others wait for eight seconds before they do the work of one that is silent: some of
// these last longer.
func cableFaults() []class {
	const longest = 12 * time.Second
	return []class{
		// Nothing comes or goes.
		{"w.pull", 4, 200 * ms, longest, cutting((*netns.Machine).Pull)},
		// What the worker sends arrives, and is carried out, but it hears of nothing.
		{"w.deaf", 4, 200 * ms, longest, cutting((*netns.Machine).Deafen)},
	}
}

// cutting cuts a worker off for a while.
func cutting(cut func(*netns.Machine) (mend func() error, err error)) func(*World, context.Context, Fault) error {
	return func(w *World, ctx context.Context, f Fault) error {
		k := w.worker(f)
		if k.machine == nil {
			return fmt.Errorf("%s has no machine of its own", k.name)
		}
		mend, err := cut(k.machine)
		if err != nil {
			return errors.Join(err, mend())
		}
		w.o.Journal.Say("cut", "%s is cut off", k.name)
		pause(ctx, f.Hold)
		return mend()
	}
}
