package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// classFailpoint is the class of faults that have the worker kill itself at a failpoint.
// It needs a build with the tag failpoint, and takes part only when it is named.
const classFailpoint = "w.failpoint"

func failpointFaults() []class {
	return []class{{classFailpoint, 0, 4 * time.Second, 4 * time.Second, (*World).failAtPoint}}
}

// AtPoint is a fault: the worker is started anew and kills itself as it passes a
// failpoint for the n-th time. Hold is how long that may take.
func AtPoint(name string, n int, hold time.Duration) (Fault, error) {
	points := failpoint.Points()
	i := slices.IndexFunc(points, func(p failpoint.Point) bool { return p.Name == name })
	if i < 0 {
		return Fault{}, fmt.Errorf("there is no failpoint %q", name)
	}
	return Fault{Class: classFailpoint, Hold: hold, Pick: uint64(i + (n-1)*len(points))}, nil
}

// point returns the failpoint that Pick names, and at which pass it acts.
func (f Fault) point() (name string, n uint64) {
	const mostPasses = 8
	points := failpoint.Points()
	count := uint64(len(points))
	return points[f.Pick%count].Name, 1 + f.Pick/count%mostPasses
}

// pointsFile says what the worker does at which failpoint when it starts; in pointsDir
// it makes a file for each that has acted.
func (w *World) pointsFile() string { return w.file("failpoints.txt") }
func (w *World) pointsDir() string  { return w.file("failpoints") }

// preparePoints has the worker act at the points of a text, once at each.
func (w *World) preparePoints(points string) ([]string, error) {
	env := []string{"TIDEMILL_FAILPOINT=@" + w.pointsFile(), "TIDEMILL_FAILPOINT_DIR=" + w.pointsDir()}
	if err := os.Mkdir(w.pointsDir(), 0o700); err != nil {
		return nil, err
	}
	return env, os.WriteFile(w.pointsFile(), []byte(points), 0o600)
}

// PointsPassed returns the failpoints at which the worker has acted.
func (w *World) PointsPassed() []string {
	list, err := filepath.Glob(filepath.Join(w.pointsDir(), "*"))
	if err != nil {
		return nil // The pattern is a good one.
	}
	for i, name := range list {
		list[i] = filepath.Base(name)
	}
	return list
}

func (w *World) failAtPoint(ctx context.Context, f Fault) error {
	name, n := f.point()
	note := filepath.Join(w.pointsDir(), name)
	if err := os.Remove(note); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.WriteFile(w.pointsFile(), fmt.Appendf(nil, "%s=kill@%d", name, n), 0o600); err != nil {
		return err
	}
	if err := w.bounce(ctx, w.worker, syscall.SIGKILL, 0); err != nil {
		return err
	}
	defer os.Remove(w.pointsFile())
	began, asked := time.Now(), false
	for time.Since(began) < f.Hold {
		if _, err := os.Stat(note); err == nil {
			w.o.Journal.Say("failpoint", "%s", name)
			return nil
		}
		if !asked && time.Since(began) > f.Hold/2 {
			asked = true // Some are passed on the way down alone.
			w.worker.signal(syscall.SIGTERM, true)
		}
		if !pause(ctx, 10*ms) {
			return nil
		}
	}
	w.o.Journal.Say("failpoint", "%s was not passed %d times in %v", name, n, f.Hold)
	return nil
}
