package fleet

import (
	"slices"
	"testing"

	"github.com/tidemill/tidemill/torture/recount"
)

// TestTopology builds the application: it reads the changes and the ticks, and its internal
// topics have names that stay.
func TestTopology(t *testing.T) {
	topology, err := Topology("storm", "http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"storm.public.xfer", "storm.public.acct", "storm.public.manifest", recount.Ticks} {
		if !slices.Contains(topology.Sources(), topic) {
			t.Errorf("%s is not read: %v", topic, topology.Sources())
		}
	}
	internal := topology.InternalTopics(recount.App)
	for _, topic := range []string{"fleet-events-repartition", "fleet-accounts-repartition", "fleet-counts-changelog", "fleet-windows-changelog"} {
		if !slices.Contains(internal, topic) {
			t.Errorf("%s is not among %v", topic, internal)
		}
	}
	for _, topic := range recount.Results() {
		if slices.Contains(internal, topic) {
			t.Errorf("%s is internal", topic)
		}
	}
}
