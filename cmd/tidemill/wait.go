package main

import (
	"context"
	"fmt"
	"time"
)

// pollEvery is how often a condition that nobody signals is looked at again.
const pollEvery = 20 * time.Millisecond

// until looks at a condition again and again until it holds, fails or ctx is done.
func until(ctx context.Context, what string, holds func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
