// Package fleet is a streams application that is tortured: it derives counts, windows, joins
// and sums from the changes of a bank, exactly once, in several processes. What it must
// write is said, and worked out without it, by package torture/recount.
//
// [Topology] is the application, [Run] one process of it, as the hidden command "torture
// fleet" runs it.
package fleet
