package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Role says how much somebody may do. Each role may also do what those below it may.
type Role uint8

// The roles, and Worker, which is not for people: what needs it is signed by the workers of
// a group. The zero value is what nobody has decided on; it is for administrators alone.
const (
	Undecided Role = iota
	Worker
	Viewer
	Operator
	Admin
)

var roleNames = [...]string{"undecided", "worker", "viewer", "operator", "admin"}

// String returns the name that settings use.
func (r Role) String() string { return roleNames[r] }

// needed is the role that somebody must have where r is asked for.
func (r Role) needed() Role {
	if r == Undecided {
		return Admin
	}
	return r
}

// Principal is somebody who asks.
type Principal struct {
	Name   string
	Groups []string
	// Method is how they have shown who they are, "" when nobody asked.
	Method string
	grants []grant
}

// grant is a role, for all connectors or for those whose names begin in one of some ways.
type grant struct {
	role     Role
	prefixes []string
}

// Anybody is the principal of a server that asks nobody.
func Anybody() *Principal { return &Principal{grants: []grant{{role: Admin}}} }

// May tells whether the principal may do what needs the role to the connector.
func (p *Principal) May(role Role, connector string) bool {
	return p != nil && slices.ContainsFunc(p.grants, func(g grant) bool {
		return g.role >= role.needed() && (len(g.prefixes) == 0 ||
			slices.ContainsFunc(g.prefixes, func(prefix string) bool { return strings.HasPrefix(connector, prefix) }))
	})
}

// MayAll tells whether the principal may do what needs the role to everything.
func (p *Principal) MayAll(role Role) bool {
	return p != nil && slices.ContainsFunc(p.grants, func(g grant) bool { return g.role >= role.needed() && len(g.prefixes) == 0 })
}

// MaySome tells whether the principal has the role for anything.
func (p *Principal) MaySome(role Role) bool {
	return p != nil && slices.ContainsFunc(p.grants, func(g grant) bool { return g.role >= role.needed() })
}

// Reader is somebody whom nobody asked, and who may look.
func Reader() *Principal { return &Principal{grants: []grant{{role: Viewer}}} }

type principalKey struct{}

// With returns a context that knows who asks.
func With(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns who asks, nil when it is not known: that is somebody who may do nothing.
func From(ctx context.Context) *Principal {
	p, _ := ctx.Value(principalKey{}).(*Principal)
	return p
}

// roles are the grants of names, of groups and of everybody.
type roles map[string][]grant

// The names that are not of one principal.
const (
	everybody   = "*"
	groupPrefix = "group:"
)

// parseRoles reads entries such as "ann=admin; bob=operator shop-,crm-; group:sre=operator;
// *=viewer". Names may hold equals signs, as those of certificates do.
func parseRoles(text string) (roles, error) {
	all := roles{}
	for entry := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ';' || c == '\n' }) {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		i := strings.LastIndexByte(entry, '=')
		if i < 1 {
			return nil, fmt.Errorf("%q is not of the form name=role or name=role prefix,prefix", entry)
		}
		name, given := strings.TrimSpace(entry[:i]), strings.TrimSpace(entry[i+1:])
		word, rest, _ := strings.Cut(given, " ")
		var g grant
		switch strings.ToLower(word) {
		case "viewer":
			g.role = Viewer
		case "operator":
			g.role = Operator
		case "admin":
			g.role = Admin
		default:
			return nil, fmt.Errorf("%q: the role %q is none of viewer, operator, admin", entry, word)
		}
		for prefix := range strings.SplitSeq(rest, ",") {
			if prefix = strings.TrimSpace(prefix); prefix != "" {
				g.prefixes = append(g.prefixes, prefix)
			}
		}
		all[name] = append(all[name], g)
	}
	return all, nil
}

// grant gives a principal what its name, its groups and everybody have.
func (all roles) grant(p *Principal) {
	p.grants = nil
	if !strings.HasPrefix(p.Name, groupPrefix) { // Nobody is a group by the name alone.
		p.grants = slices.Clone(all[p.Name])
	}
	for _, group := range p.Groups {
		p.grants = append(p.grants, all[groupPrefix+group]...)
	}
	p.grants = append(p.grants, all[everybody]...)
	if len(all) == 0 {
		p.grants = Anybody().grants // As in Kafka Connect: who is known may do everything.
	}
}
