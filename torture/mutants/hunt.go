package mutants

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/torture/bankstorm"
	"github.com/tidemill/tidemill/torture/chaos"
)

// most bounds one hunt.
const most = 5 * time.Minute

// innocent is the name of the product without a bug.
const innocent = "none"

// acquit puts the product without a bug through every hunt that there is.
func (o *Options) acquit(ctx context.Context, b built, result *Result) error {
	hunts := hunts(All())
	for i, h := range hunts {
		v, err := o.hunt(ctx, innocent, b, h)
		if err != nil {
			return err
		}
		place := fmt.Sprintf("%2d/%d", i+1, len(hunts))
		if v.name == "" {
			o.Say(fmt.Sprintf("%s passed without a bug: %s", place, h))
			continue
		}
		result.Innocent = append(result.Innocent, h.String())
		o.Say(fmt.Sprintf("%s FALSE ALARM without a bug under %s: %s: %s (all there is to know is in %s)", place, h, v.name, v.text, v.bundle))
	}
	return nil
}

// hunts returns the different hunts of mutants.
func hunts(all []Mutant) []Hunt {
	var list []Hunt
	for _, m := range all {
		if !slices.ContainsFunc(list, func(h Hunt) bool { return h.String() == m.Hunt.String() }) {
			list = append(list, m.Hunt)
		}
	}
	return list
}

// String is one line.
func (h Hunt) String() string {
	text := h.mode() + " with " + strings.Join(h.faults(), ",")
	if len(h.Templates) > 0 {
		text += " and transactions " + strings.Join(h.Templates, ",")
	}
	if h.Points != "" {
		text += " and " + h.Points
	}
	for _, key := range slices.Sorted(maps.Keys(h.Connector)) {
		text += " and " + key + "=" + h.Connector[key]
	}
	if h.Copies {
		text += " and copies"
	}
	if h.Streams {
		text += " and streams"
	}
	return text
}

// verdict is the first anomaly of a hunt; its name is empty for none.
type verdict struct {
	name, text string
	after      time.Duration
	bundle     string // What is left of a run of the product without a bug.
}

// pursue hunts a mutant with one seed after the other, as long as there is time for another.
func (o *Options) pursue(ctx context.Context, b built) (v verdict, err error) {
	m, began := b.mutant, time.Now()
	for with, n := *o, time.Duration(1); ; with.Seed, n = with.Seed+1, n+1 {
		v, err = with.hunt(ctx, m.Name, b, m.Hunt)
		v.after = time.Since(began)
		if v.name != "" || ctx.Err() != nil || v.after+v.after/n > most {
			return v, err
		}
	}
}

// hunt makes one run. A mutant's ends at the first anomaly; that of the product without a
// bug comes to its end, so that it leaves a bundle.
func (o *Options) hunt(ctx context.Context, name string, b built, h Hunt) (verdict, error) {
	began := time.Now()
	limit, stop := context.WithTimeout(ctx, most)
	defer stop()
	var mu sync.Mutex
	var first *verdict
	// Of Kafka's transactions there are as many as can be, with every seed.
	connector := map[string]string{"transaction.boundary": "connector"}
	maps.Copy(connector, h.Connector)
	options := bankstorm.Options{
		Seed: o.Seed, Duration: o.Duration, Mode: h.mode(), Gap: 500 * time.Millisecond, Faults: h.faults(), Binary: b.binary, Fleet: b.fleet, Streams: h.Streams, PGBin: o.PGBin, Out: o.Out, Points: h.Points, Copies: h.Copies, Connector: connector, Templates: h.Templates, Patience: o.Patience, TPS: o.TPS,
		Seen: func(e chaos.Entry) {
			o.Seen(e)
			if kind, text, ok := strings.Cut(e.Text, ": "); ok && e.Kind == "ANOMALY" && kind != chaos.AnomalyHarness {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = &verdict{name: kind, text: text, after: time.Since(began)}
				}
				if name != innocent {
					stop()
				}
			}
		},
	}
	result, err := bankstorm.Run(limit, options)
	if result.Bundle != "" && name != innocent {
		_ = os.RemoveAll(result.Bundle) // A bug that was put there needs no repair.
	}
	mu.Lock()
	defer mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return verdict{}, ctx.Err()
	case first != nil:
		first.bundle = result.Bundle
		return *first, nil
	case errors.Is(err, context.DeadlineExceeded) && limit.Err() == nil:
		// A step of the run has not come to its end in the time there is for it.
		return verdict{name: chaos.AnomalyStuck, text: err.Error(), after: time.Since(began), bundle: result.Bundle}, nil
	case limit.Err() != nil:
		return verdict{name: chaos.AnomalyStuck, text: "the run did not come to its end", after: time.Since(began), bundle: result.Bundle}, nil
	case err != nil:
		return verdict{}, fmt.Errorf("%s under %s: %w", name, h, err)
	}
	return verdict{after: time.Since(began)}, nil
}
