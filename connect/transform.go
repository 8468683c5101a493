package connect

// Transform changes records one at a time, between the source and the converter or
// between the converter and the sink. One instance serves one task and is called
// by one goroutine.
type Transform interface {
	// Configure hands over the parsed settings (without the transforms.<alias>.
	// prefix), once, before anything else.
	Configure(settings Settings) error
	// Apply changes r in place. It returns false to drop the record. It may replace
	// r's parts but must not write into what they point at.
	Apply(r *Record) (keep bool, err error)
	// Close releases everything.
	Close() error
}

// Predicate tells whether a transform applies to a record.
type Predicate interface {
	// Configure hands over the parsed settings, once, before anything else.
	Configure(settings Settings) error
	// Test must not change r.
	Test(r *Record) bool
}
