package rest_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
)

// BenchmarkExpand lists a thousand connectors of forty settings each, as consoles do
// every few seconds.
func BenchmarkExpand(b *testing.B) {
	h := newStandIn()
	settings := connect.Config{"connector.class": "FileSource", "database.password": "hunter2", "url": "postgres://me:pw@db/x?sslmode=require"}
	for i := range 37 {
		settings[fmt.Sprintf("some.setting.number.%d", i)] = "org.apache.kafka.connect.json.JsonConverter"
	}
	for i := range 1000 {
		h.all[fmt.Sprintf("connector-%d", i)] = maps.Clone(settings)
	}
	parsed, err := rest.ConfigDef().Parse(nil)
	if err != nil {
		b.Fatal(err)
	}
	redactor := config.NewRedactor()
	redactor.Add("hunter22", "hunter23")
	s, err := rest.New(rest.Options{Settings: parsed, Herder: h, Redactor: redactor})
	if err != nil {
		b.Fatal(err)
	}
	handler := s.Handler()
	r := httptest.NewRequest(http.MethodGet, "/connectors?expand=info&expand=status", nil)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.Body.Len() < 1<<20 {
			b.Fatal(w.Code, w.Body.Len())
		}
	}
}
