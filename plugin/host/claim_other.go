//go:build !unix

package host

import "os"

func lock(*os.File) (bool, error) { return true, nil }

// openOwn finds nothing: it cannot be told whether a worker still uses it.
func openOwn(_, _ string) (*os.File, error) { return nil, nil }
