package transforms

import "github.com/tidemill/tidemill/connect"

func filterPlugins() []connect.Plugin[connect.Transform] {
	return one(kafka+"Filter", "Drops every record it is given; a predicate says which those are.", connect.NewConfigDef(),
		func() connect.Transform { return filter{} })
}

type filter struct{ base }

// Configure implements connect.Transform.
func (filter) Configure(connect.Settings) error { return nil }

// Apply implements connect.Transform.
func (filter) Apply(*connect.Record) (bool, error) { return false, nil }
