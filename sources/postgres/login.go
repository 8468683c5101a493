package postgres

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
)

// secrets are what may change while a task runs.
type secrets struct {
	mu                    sync.Mutex // Guards what follows.
	password, keyPassword string
}

// now returns the password of the user and that of the key for TLS.
func (s *secrets) now() (password, keyPassword string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.password, s.keyPassword
}

// relogin has the secrets read again after a login was refused that had worked
// before: they may have been changed, here or at the server, and not at both at once.
// The next attempt then comes after the usual wait, and there are only a few.
func (w *work) relogin(err error) error {
	refused := connect.AsError(err)
	if refused == nil || refused.Code != "pg.auth" || !w.settled || w.env.Refresh == nil {
		return err
	}
	config, fault := w.env.Refresh()
	if fault != nil {
		w.log.Warn("The secrets cannot be read again.", "error", fault)
		return err
	}
	set, fault := newSettings(config)
	if fault != nil {
		return err
	}
	own := w.set.secrets
	own.mu.Lock()
	own.password, own.keyPassword = set.secrets.password, set.secrets.keyPassword
	own.mu.Unlock()
	again := *refused
	again.Class = connect.ClassRetriable
	return &again
}

// refused turns what came of a login into a coded error. Routines of the server tell
// more than its messages, which may be in any language.
func (s *settings) refused(err error, doing string) error {
	pg, _ := errors.AsType[*pgconn.PgError](err)
	user, database := quoteIdent(s.user), quoteIdent(s.database)
	switch {
	case pg == nil && (strings.Contains(err.Error(), "channel binding required") || strings.Contains(err.Error(), "authentication method requirement")):
		return fatal("pg.auth", "the server does not log in as the settings demand, "+doing, err, "channel binding needs a connection with TLS and SCRAM-SHA-256; see the settings channelBinding and requireAuth of the driver")
	case pg == nil:
	case pg.Code == "42501" && pg.Routine == "CheckMyDatabase":
		return fatal("pg.role.connect", "the user may not connect to the database, "+doing, err, "GRANT CONNECT ON DATABASE "+database+" TO "+user)
	case pg.Code == "28000" && strings.Contains(pg.Message, "not permitted to log in"):
		return fatal("pg.auth", "the server refuses the login, "+doing, err, "ALTER ROLE "+user+" LOGIN")
	case pg.Code == "28P01":
		return fatal("pg.auth", "the server refuses the login, "+doing, err, "check database.user and database.password")
	case pg.Code == "28000" && pg.Routine == "ClientAuthentication":
		mend := "check database.user; the server lets in whom a line of pg_hba.conf names: host " + database + " " + user + " <address of the worker>/32 scram-sha-256"
		if s.ssl["sslmode"] == "disable" || s.cert == "" {
			mend += "; a line that begins with hostssl asks for database.sslmode=require, and one that ends with cert or clientcert for database.sslcert and database.sslkey"
		}
		return fatal("pg.auth", "the server refuses the login, "+doing, err, mend)
	}
	coded := explain(err, doing)
	if e := connect.AsError(coded); e.Code == "pg.tls" && slices.Contains([]string{"prefer", "allow"}, s.ssl["sslmode"]) {
		// Encryption was offered only; what failed is the connection without it.
		return retriable("pg.unreachable", "no connection to the server, "+doing, err)
	}
	return coded
}
