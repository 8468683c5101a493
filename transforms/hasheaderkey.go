package transforms

import "github.com/tidemill/tidemill/connect"

func hasHeaderKeyPredicates() []connect.Plugin[connect.Predicate] {
	return predicate("HasHeaderKey", "True for records with a header of the name.", connect.NewConfigDef(connect.ConfigKey{
		Name: "name", Required: true, Importance: connect.Medium, Doc: "The header's name.",
	}), func() connect.Predicate { return &hasHeaderKey{} })
}

type hasHeaderKey struct{ name string }

// Configure implements connect.Predicate.
func (p *hasHeaderKey) Configure(s connect.Settings) error {
	p.name = s.String("name")
	return nil
}

// Test implements connect.Predicate.
func (p *hasHeaderKey) Test(r *connect.Record) bool {
	_, ok := r.Header(p.name)
	return ok
}
