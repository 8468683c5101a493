package mutants

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

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
	// Patience is how long a recovery may take; with less, what is merely slow counts as
	// found. 30 s.
	Patience time.Duration
	TPS      float64 // Transactions a second. 100.
	// Root is the folder of the module. Default: that of the working directory.
	Root  string
	PGBin string // Folder of PostgreSQL's server programs. Default: search.
	Out   string // Where the bundles of what should not have failed are left.
	// Say is told a line for each mutant, and Seen all that happens; nil for nobody.
	Say  func(line string)
	Seen func(chaos.Entry)
}

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

// Run hunts one mutant after the other; while one is hunted the next one is built. The
// error tells that the harness could not do its work.
func Run(ctx context.Context, o Options) (Result, error) {
	var result Result
	if err := o.complete(); err != nil {
		return result, err
	}
	var list []*Mutant
	if o.wants(innocent) {
		list = append(list, nil)
	}
	for _, m := range All() {
		if o.wants(m.Name) {
			list = append(list, &m)
		}
	}
	if len(list) == 0 {
		return result, fmt.Errorf("no mutant is called %s", strings.Join(o.Only, " or "))
	}
	dir, err := os.MkdirTemp("", "tidemill-mutants-")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(dir)
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan built)
	group.Go(func() error {
		defer close(ready)
		return o.build(ctx, dir, list, ready)
	})
	group.Go(func() error {
		for b := range ready {
			if err := o.try(ctx, b, &result); err != nil {
				return err
			}
		}
		return nil
	})
	return result, group.Wait()
}

// built is a worker with a mutant, nil for none, in a folder of its own, and a program
// of the streams application that is tortured, if the mutant is one for that.
type built struct {
	place  string
	mutant *Mutant
	binary string
	fleet  string
	took   time.Duration
}

// build builds one worker after the other, as they are taken.
func (o *Options) build(ctx context.Context, dir string, list []*Mutant, ready chan<- built) error {
	for i, m := range list {
		began := time.Now()
		own, err := os.MkdirTemp(dir, "")
		if err != nil {
			return err
		}
		b := built{place: fmt.Sprintf("%2d/%d", i+1, len(list)), mutant: m}
		if b.binary, err = Build(ctx, o.Root, own, "failpoint", m); err != nil {
			return err
		}
		if m == nil || m.Hunt.Streams {
			if b.fleet, err = buildFleet(ctx, o.Root, own, m); err != nil {
				return err
			}
		}
		b.took = time.Since(began)
		select {
		case ready <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// try puts a worker to the test and forgets it.
func (o *Options) try(ctx context.Context, b built, result *Result) error {
	defer os.RemoveAll(filepath.Dir(b.binary))
	m := b.mutant
	if m == nil {
		return o.acquit(ctx, b, result)
	}
	v, err := o.pursue(ctx, b)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	result.All++
	switch {
	case err != nil:
		result.Survivors = append(result.Survivors, m.Name)
		o.Say(fmt.Sprintf("%s NOT JUDGED %s: %v", b.place, m.Name, err))
	case v.name == "":
		result.Survivors = append(result.Survivors, m.Name)
		o.Say(fmt.Sprintf("%s SURVIVED %s for %.0f s: %s", b.place, m.Name, v.after.Seconds(), m.Breaks))
	default:
		result.Killed++
		o.Say(fmt.Sprintf("%s killed %s by %s after %.0f s (built in %.0f s): %s", b.place, m.Name, v.name, v.after.Seconds(), b.took.Seconds(), v.text))
	}
	return nil
}

func (o *Options) complete() (err error) {
	if o.Duration == 0 {
		o.Duration = 20 * time.Second
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
