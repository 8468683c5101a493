package transforms

import "github.com/tidemill/tidemill/connect"

func recordIsTombstonePredicates() []connect.Plugin[connect.Predicate] {
	return predicate("RecordIsTombstone", "True for records whose value is null.", connect.NewConfigDef(),
		func() connect.Predicate { return recordIsTombstone{} })
}

type recordIsTombstone struct{}

// Configure implements connect.Predicate.
func (recordIsTombstone) Configure(connect.Settings) error { return nil }

// Test implements connect.Predicate.
func (recordIsTombstone) Test(r *connect.Record) bool { return r.Value.IsNull() }
