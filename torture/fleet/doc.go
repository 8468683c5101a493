// Package fleet is a streams application that is tortured: it derives counts, windows, joins
// and sums from the changes of a bank, exactly once, in several processes. What it must
// write is said, and worked out without it, by package torture/recount.
//
// [Topology] is the application, [Run] one process of it. [Command] is what programs that
// torture one have as their hidden command "fleet".
package fleet
