//go:build race

package postgres

// poisoned makes memory that was given back unreadable, to find who reads it still.
const poisoned = true
