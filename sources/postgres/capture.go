package postgres

import (
	"context"
	"fmt"
)

// checkCapture looks whether what is captured can be: names that do not collide, no
// more tables than guardrail.collections.max, and replica identities that this user
// can set where they are asked for.
func (p *preflight) checkCapture(ctx context.Context) error {
	if err := p.set.collision(p.tables); err != nil {
		p.add("table.include.list", err)
	}
	if n := len(p.tables); p.set.mostTables > 0 && n > p.set.mostTables {
		report := p.warn
		if p.set.mostTablesFail {
			report = p.fault
		}
		report(Finding{Setting: "guardrail.collections.max", Code: codeTablesLimit, What: fmt.Sprintf("%d tables are captured, and guardrail.collections.max allows %d", n, p.set.mostTables),
			Mend: "capture fewer with table.include.list, or raise guardrail.collections.max"})
	}
	wants, err := p.set.identityChanges(ctx, p.db, p.all)
	if err != nil {
		p.add("replica.identity.autoset.values", err)
		return nil
	}
	var foreign, sql []string
	for _, want := range wants {
		if !want.table.owned {
			foreign, sql = append(foreign, want.table.name.String()), append(sql, want.statement)
		}
	}
	if len(foreign) > 0 {
		p.warn(Finding{Setting: "replica.identity.autoset.values", Code: "pg.replica_identity.owner", SQL: sql,
			What: "the user does not own " + joinNames(foreign) + ", and only the owner of a table can set its replica identity"})
	}
	return nil
}

// tooMany is the error for a limit that new tables have passed.
func (s *settings) tooMany(n int) error {
	return fatal(codeTablesLimit, fmt.Sprintf("%d tables are captured, and guardrail.collections.max allows %d", n, s.mostTables), nil,
		"capture fewer with table.include.list, or raise guardrail.collections.max")
}
