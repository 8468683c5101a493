// Package apps has the applications of the streams engine that the benchmark measures, and
// the loops without an engine that they are held against: programs as a user would write
// them, each in a process of its own. Command bench/application runs one of them; nothing
// of the benchmark itself is in that program, so that it takes the memory of its own.
package apps
