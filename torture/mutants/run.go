package mutants

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/torture/bankstorm"
	"github.com/tidemill/tidemill/torture/chaos"
)

// Options say which mutants are hunted, and how.
type Options struct {
	// Only names the mutants, or beginnings of their names; none for all. "none" is the
	// product without a bug, under every hunt that there is.
	Only []string
	Seed uint64
	// Duration is how long things go wrong in each hunt. 40 s.
	Duration time.Duration
	// Root is the folder of the module. Default: that of the working directory.
	Root  string
	PGBin string // Folder of PostgreSQL's server programs. Default: search.
	Out   string // Where the bundles of what should not have failed are left.
	// Say is told a line for each mutant, and Seen all that happens; nil for nobody.
	Say  func(line string)
	Seen func(chaos.Entry)
}

// most bounds one hunt, its building excepted.
const most = 5 * time.Minute

// Result is what came of all hunts.
type Result struct {
	Killed, All int
	// Survivors are the mutants that nothing was said of; Innocent those hunts that
	// said something of the product without a bug.
	Survivors, Innocent []string
}

// OK tells that every mutant was found and that nothing was said of the product itself.
func (r Result) OK() bool { return len(r.Survivors) == 0 && len(r.Innocent) == 0 }

// Line is the result in one line.
func (r Result) Line() string {
	line := fmt.Sprintf("mutants killed %d/%d", r.Killed, r.All)
	if len(r.Survivors) > 0 {
		line += ", survived: " + strings.Join(r.Survivors, " ")
	}
	if len(r.Innocent) > 0 {
		line += ", false alarms: " + strings.Join(r.Innocent, " ")
	}
	return line
}

// Run hunts one mutant after the other. The error tells that the harness could not do
// its work.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.complete(); err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp("", "tidemill-mutants-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return Result{}, err
	}
	var result Result
	if o.wants("none") {
		if err := o.innocent(ctx, dir, &result); err != nil {
			return result, err
		}
	}
	list := slices.DeleteFunc(All(), func(m Mutant) bool { return !o.wants(m.Name) })
	for i, m := range list {
		result.All++
		began := time.Now()
		binary, err := Build(ctx, o.Root, dir, "failpoint", &m)
		if err != nil {
			return result, err
		}
		built := time.Since(began)
		place := fmt.Sprintf("%2d/%d", i+1, len(list))
		v, err := o.pursue(ctx, &m, binary)
		switch {
		case ctx.Err() != nil:
			return result, ctx.Err()
		case err != nil:
			result.Survivors = append(result.Survivors, m.Name)
			o.Say(fmt.Sprintf("%s NOT JUDGED %s: %v", place, m.Name, err))
			continue
		}
		if v.name == "" {
			result.Survivors = append(result.Survivors, m.Name)
			o.Say(fmt.Sprintf("%s SURVIVED %s for %.0f s: %s", place, m.Name, v.after.Seconds(), m.Breaks))
			continue
		}
		result.Killed++
		o.Say(fmt.Sprintf("%s killed %s by %s after %.0f s (built in %.0f s): %s", place, m.Name, v.name, v.after.Seconds(), built.Seconds(), v.text))
	}
	if result.All == 0 && !o.wants("none") {
		return result, fmt.Errorf("no mutant is called %s", strings.Join(o.Only, " or "))
	}
	return result, nil
}

func (o *Options) complete() (err error) {
	if o.Duration == 0 {
		o.Duration = 40 * time.Second
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	if o.Seen == nil {
		o.Seen = func(chaos.Entry) {}
	}
	if o.Root == "" {
		o.Root, err = Root()
	}
	return err
}

func (o *Options) wants(name string) bool {
	return len(o.Only) == 0 || slices.ContainsFunc(o.Only, func(only string) bool { return strings.HasPrefix(name, only) })
}

// innocent puts the product without a bug through every hunt that there is.
func (o *Options) innocent(ctx context.Context, dir string, result *Result) error {
	binary, err := Build(ctx, o.Root, dir, "failpoint", nil)
	if err != nil {
		return err
	}
	hunts := hunts(All())
	for i, h := range hunts {
		v, err := o.hunt(ctx, "none", binary, h)
		if err != nil {
			return err
		}
		place := fmt.Sprintf("%2d/%d", i+1, len(hunts))
		if v.name == "" {
			o.Say(fmt.Sprintf("%s passed without a bug: %s", place, h))
			continue
		}
		result.Innocent = append(result.Innocent, h.String())
		o.Say(fmt.Sprintf("%s FALSE ALARM without a bug under %s: %s: %s", place, h, v.name, v.text))
	}
	return nil
}

// hunts returns the different hunts of mutants.
func hunts(all []Mutant) []Hunt {
	var list []Hunt
	for _, m := range all {
		if !slices.ContainsFunc(list, func(h Hunt) bool { return reflect.DeepEqual(h, m.Hunt) }) {
			list = append(list, m.Hunt)
		}
	}
	return list
}

// String is one line.
func (h Hunt) String() string {
	text := h.mode() + " with " + strings.Join(h.faults(), ",")
	if h.Calm {
		text += " and no change of the schema"
	}
	if h.Points != "" {
		text += " and " + h.Points
	}
	return text
}

// verdict is the first anomaly of a hunt; its name is empty for none.
type verdict struct {
	name, text string
	after      time.Duration
}

// tries is how many seeds are tried until a mutant is found.
const tries = 3

// pursue hunts a mutant with one seed after the other, as long as there is time.
func (o *Options) pursue(ctx context.Context, m *Mutant, binary string) (v verdict, err error) {
	began := time.Now()
	for n := range uint64(tries) {
		with := *o
		with.Seed += n
		v, err = with.hunt(ctx, m.Name, binary, m.Hunt)
		v.after = time.Since(began)
		if v.name != "" || ctx.Err() != nil || v.after > most-v.after/time.Duration(n+1) {
			break
		}
	}
	return v, err
}

// hunt makes one run and ends it at the first anomaly.
func (o *Options) hunt(ctx context.Context, name, binary string, h Hunt) (verdict, error) {
	began := time.Now()
	limit, stop := context.WithTimeout(ctx, most)
	defer stop()
	var mu sync.Mutex
	var first *verdict
	options := bankstorm.Options{
		Seed: o.Seed, Duration: o.Duration, Mode: h.mode(), Gap: 500 * time.Millisecond, Faults: h.faults(), Binary: binary, PGBin: o.PGBin, Out: o.Out, Points: h.Points,
		Seen: func(e chaos.Entry) {
			o.Seen(e)
			if kind, text, ok := strings.Cut(e.Text, ": "); ok && e.Kind == "ANOMALY" && kind != chaos.AnomalyHarness {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = &verdict{kind, text, time.Since(began)}
				}
				stop()
			}
		},
	}
	if h.Calm {
		options.Templates = []string{"transfer", "key", "copy", "rebirth", "toast", "values", "interleaved"}
	}
	result, err := bankstorm.Run(limit, options)
	if result.Bundle != "" && name != "none" {
		_ = os.RemoveAll(result.Bundle) // A bug that was put there needs no repair.
	}
	mu.Lock()
	defer mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return verdict{}, ctx.Err()
	case first != nil:
		return *first, nil
	case errors.Is(err, context.DeadlineExceeded) && limit.Err() == nil:
		// A step of the run has not come to its end in the time there is for it.
		return verdict{chaos.AnomalyStuck, err.Error(), time.Since(began)}, nil
	case limit.Err() != nil:
		return verdict{chaos.AnomalyStuck, "the run did not come to its end", time.Since(began)}, nil
	case err != nil:
		return verdict{}, fmt.Errorf("%s under %s: %w", name, h, err)
	}
	return verdict{after: time.Since(began)}, nil
}
