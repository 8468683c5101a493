//go:build !unix

package file

// openFlags are none where there are no named pipes in folders.
const openFlags = 0
