package host

import (
	"errors"
	"os"
	"path/filepath"
)

// claimName is the file in a process's directory that its worker keeps locked. Workers that
// are killed remove nothing, and by it the next one knows what was theirs: go-plugin makes
// directories of the same names for other programs too.
const claimName = ".tidemill"

// claim takes a directory for this worker, until the file is closed or the worker ends.
func claim(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, claimName+"-*")
	if err != nil {
		return nil, err
	}
	// Only a file that is locked already has the name: nobody finds it free before.
	if _, err = lock(f); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, claimName))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweep removes the directories of processes whose worker was killed.
func (h *Host) sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "plugin-dir*")) // The pattern is good.
	for _, dir := range dirs {
		if err := removeAbandoned(dir); err != nil {
			h.say(dir, "the directory of a plugin whose worker was killed cannot be removed: "+err.Error())
		}
	}
}

// removeAbandoned removes a directory if a worker of this user has claimed it and is gone.
func removeAbandoned(dir string) error {
	f, err := openOwn(dir, claimName)
	if f == nil {
		return err
	}
	free, err := lock(f)
	if free {
		err = os.RemoveAll(dir)
	}
	return errors.Join(err, f.Close())
}
