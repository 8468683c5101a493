package main

import "github.com/tidemill/tidemill/connect"

// timesPlugin is the entry for the list of plugins, as counterPlugin is.
func timesPlugin() connect.Plugin[connect.Transform] {
	return connect.Plugin[connect.Transform]{
		Class: "example.Times", Version: "1.0.0", Doc: "Multiplies numbers, and leaves out those that are nought.",
		Config: connect.NewConfigDef(
			connect.ConfigKey{Name: "factor", Type: connect.TypeInt, Required: true, Check: connect.Between(1, 1000), Importance: connect.High, Doc: "The factor."},
		),
		New: func() connect.Transform { return &times{} },
	}
}

// times multiplies.
type times struct{ factor int64 }

// Configure implements connect.Transform.
func (t *times) Configure(settings connect.Settings) error {
	t.factor = settings.Int64("factor")
	return nil
}

// Apply implements connect.Transform. An error of this class is the record's alone, with
// which the connector's errors.tolerance deals.
func (t *times) Apply(r *connect.Record) (bool, error) {
	switch {
	case r.Value.IsNull():
		return true, nil
	case !r.Value.IsInt():
		return false, &connect.Error{Code: "times.number", Class: connect.ClassRecord, Place: r.Topic, Message: "the value is no number", Mend: "use this transform for numbers"}
	}
	r.Value = connect.IntOf(r.Value.Kind(), r.Value.Int()*t.factor)
	return r.Value.Int() != 0, nil
}

// Close implements connect.Transform.
func (t *times) Close() error { return nil }
