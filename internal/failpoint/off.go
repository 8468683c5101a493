//go:build !failpoint

package failpoint

// Enabled tells whether this build acts at its failpoints.
const Enabled = false

// At marks a place that is passed. It does nothing in an ordinary build.
func At(string) {}

// Fail marks a place that may fail: nil in an ordinary build.
func Fail(string) error { return nil }
