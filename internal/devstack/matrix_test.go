//go:build matrix

package devstack_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestVersions runs the downloaded servers. It needs npm and the network, so
// it runs only with the tag.
func TestVersions(t *testing.T) {
	for _, major := range []int{13, 14, 16, 17, 18} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			dsn := devstack.TestPostgresVersion(t, major)
			if got := query(t, dsn, "SHOW server_version"); !strings.HasPrefix(got, strconv.Itoa(major)+".") {
				t.Fatalf("version %s", got)
			}
			query(t, dsn, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
		})
	}
}
