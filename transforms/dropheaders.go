package transforms

import (
	"slices"

	"github.com/tidemill/tidemill/connect"
)

func dropHeadersPlugins() []connect.Plugin[connect.Transform] {
	return one(kafka+"DropHeaders", "Removes headers by name.", connect.NewConfigDef(connect.ConfigKey{
		Name: "headers", Type: connect.TypeList, Required: true, Importance: connect.High, Doc: "The headers to remove.",
	}), func() connect.Transform { return &dropHeaders{} })
}

type dropHeaders struct {
	base
	names []string
}

// Configure implements connect.Transform.
func (t *dropHeaders) Configure(s connect.Settings) error {
	t.names = s.List("headers")
	return nil
}

// Apply implements connect.Transform.
func (t *dropHeaders) Apply(r *connect.Record) (bool, error) {
	dropped := func(h connect.Header) bool { return slices.Contains(t.names, h.Key) }
	if slices.ContainsFunc(r.Headers, dropped) {
		r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), dropped)
	}
	return true, nil
}
