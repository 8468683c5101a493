package chaos

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// pointsFile says what the worker does at which failpoint; in pointsDir it makes a file
// for each thing that it has done.
func (w *World) pointsFile() string { return w.file("failpoints.txt") }
func (w *World) pointsDir() string  { return w.file("failpoints") }

// preparePoints has the worker act at the points of a text, once at each.
func (w *World) preparePoints(points string) ([]string, error) {
	env := []string{"TIDEMILL_FAILPOINT=@" + w.pointsFile(), "TIDEMILL_FAILPOINT_DIR=" + w.pointsDir()}
	if err := os.Mkdir(w.pointsDir(), 0o700); err != nil {
		return nil, err
	}
	return env, w.putPoints(points)
}

// putPoints puts the file there whole, since the worker reads it at any time.
func (w *World) putPoints(points string) error {
	next := w.pointsFile() + ".next"
	if err := os.WriteFile(next, []byte(points), 0o600); err != nil {
		return err
	}
	return os.Rename(next, w.pointsFile())
}

// Arm has a worker that was built with the tag failpoint act at its failpoints from now
// on as points says, in the form of TIDEMILL_FAILPOINT: once each, also if it dies of it.
// What it was to do before is forgotten, and what it did.
func (w *World) Arm(points string) error {
	if err := w.putPoints(""); err != nil {
		return err
	}
	for _, done := range w.Acted() {
		if err := os.Remove(filepath.Join(w.pointsDir(), done)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return w.putPoints(points)
}

// Acted returns what the worker has done at its failpoints since it was told what to do:
// the point, a sign = and the action, sorted.
func (w *World) Acted() []string {
	list, err := filepath.Glob(filepath.Join(w.pointsDir(), "*"))
	if err != nil {
		return nil // The pattern is a good one.
	}
	for i, name := range list {
		list[i] = filepath.Base(name)
	}
	slices.Sort(list)
	return list
}
