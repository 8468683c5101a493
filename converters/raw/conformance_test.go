package raw

import (
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

func TestConformance(t *testing.T) {
	for i, p := range Plugins() {
		kind := connect.KindString
		if i > 0 {
			kind = layouts[i-1].kind
		}
		t.Run(p.Class, func(t *testing.T) {
			connecttest.Converter(t, connecttest.ConverterCase{
				New: p.New,
				Supports: func(s *connect.Schema) bool {
					_, decimal := s.DecimalScale()
					return s.Kind() == kind && s.Default().IsNull() && !decimal
				},
				Read: func(s *connect.Schema, v connect.Value) (*connect.Schema, connect.Value) {
					return connect.Of(kind).AsOptional(), v
				},
				Unknown: "converter.typo",
			})
		})
	}
}
