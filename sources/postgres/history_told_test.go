package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
)

// TestSlotIsLostBeforeTheLogIsRead has an error about the slot come when there is no stream
// yet, as during a first snapshot.
func TestSlotIsLostBeforeTheLogIsRead(t *testing.T) {
	w := &work{task: &task{set: &settings{slot: "s"}}}
	for _, code := range []string{"pg.slot.lost", "pg.slot.missing", "pg.publication.missing_at_lsn"} {
		e := connect.AsError(w.remedied(fatal(code, "it is gone", nil, "")))
		if e.Code != code || !strings.Contains(e.Mend, "resnapshot") {
			t.Errorf("%s: %+v", code, e)
		}
	}
}

// TestUndecodableLogHasARemedy names what to do when the server fails at its own log.
func TestUndecodableLogHasARemedy(t *testing.T) {
	for _, said := range []string{`could not map filenode "base/1/2" to relation OID`, `could not map filenumber "base/1/2" to relation OID`} {
		err := explain(&pgconn.PgError{Code: "XX000", Message: said}, "reading the log")
		if e := connect.AsError(err); e.Code != "pg.decoding" || !strings.Contains(e.Mend, "resnapshot") {
			t.Errorf("%+v", e)
		}
	}
}
