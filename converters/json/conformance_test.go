package json

import (
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

func TestConformance(t *testing.T) {
	for name, config := range map[string]connect.Config{
		"base64":        {},
		"numeric":       {"decimal.format": "numeric"},
		"a small cache": {"schemas.cache.size": "1"},
	} {
		t.Run(name, func(t *testing.T) {
			connecttest.Converter(t, connecttest.ConverterCase{
				New:     func() connect.Converter { return &Converter{} },
				Config:  func(testing.TB) connect.Config { return config },
				Unknown: "schemas.enabled",
			})
		})
	}
}
