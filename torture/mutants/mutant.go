package mutants

import "slices"

// Mutant is the product with one bug.
type Mutant struct {
	Name string // Begins with bug_.
	// Breaks says in a sentence what is wrong with it and which invariant that breaks.
	Breaks string
	Edits  []Edit
	Hunt   Hunt
}

// Edit replaces a text that stands exactly once in a file.
type Edit struct {
	File     string // From the root of the module.
	From, To string
}

// Hunt says under which torture the bug shows.
type Hunt struct {
	Mode string // eos or alo.
}

// All returns the mutants, sorted by what they break.
func All() []Mutant {
	return slices.Concat(positions(), resuming(), rows(), records(), values(), snapshots(), streamed(), delivery(), order(), sinks())
}
