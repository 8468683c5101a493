package postgres

import (
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// TestBlackHole lets the network swallow everything, in both directions and in that to
// us alone: the connection is taken for dead in time, and what was written meanwhile
// comes over another one.
func TestBlackHole(t *testing.T) {
	for name, silent := range map[string]proxy.Direction{"both ways": proxy.Both, "one way": proxy.ToClient} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newTestDB(t)
			d.exec(`ALTER DATABASE ` + strings.TrimPrefix(d.url.Path, "/") + ` SET wal_sender_timeout = '1500ms'`)
			d.exec(`CREATE TABLE a (id int PRIMARY KEY)`)
			p := d.through(t, proxy.Options{})
			run := d.start(&connecttest.Offsets{}, "database.port", p.Port(),
				"snapshot.mode", "no_data", "stream.silence.ms", "1000", "retriable.restart.connector.wait.ms", "50", "slot.retry.delay.ms", "2000")
			d.streaming()
			d.exec(`INSERT INTO a VALUES (1)`)
			run.Take(1)
			p.Swallow(silent)
			d.exec(`INSERT INTO a VALUES (2)`)
			if r := run.Take(1)[0]; after(&r, "id").Int() != 2 {
				t.Error(r.Key)
			}
		})
	}
}
