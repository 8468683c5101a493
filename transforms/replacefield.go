package transforms

import (
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func replaceFieldPlugins() []connect.Plugin[connect.Transform] {
	return both("ReplaceField", "Drops and renames fields.", connect.NewConfigDef(
		connect.ConfigKey{Name: "exclude", Aliases: []string{"blacklist"}, Type: connect.TypeList, Importance: connect.Medium, Doc: "Fields to drop; this has precedence over include."},
		connect.ConfigKey{Name: "include", Aliases: []string{"whitelist"}, Type: connect.TypeList, Importance: connect.Medium, Doc: "Fields to keep; empty means all."},
		connect.ConfigKey{Name: "renames", Type: connect.TypeList, Check: connect.CheckText(func(text string) error {
			_, err := parseRenames(strings.Split(text, ","))
			return err
		}), Importance: connect.Medium, Doc: "Names to replace, as old:new."},
		replaceNull(),
	), func(k side) connect.Transform { return &replaceField{side: k} })
}

type replaceField struct {
	base
	side             side
	exclude, include []string
	renames          map[string]string
	defaults         bool
	plans            plans[*reshape]
}

// parseRenames reads old:new pairs.
func parseRenames(list []string) (map[string]string, error) {
	renames := map[string]string{}
	for _, pair := range list {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		from, to, ok := strings.Cut(pair, ":")
		if !ok || from == "" || to == "" || strings.Contains(to, ":") {
			return nil, wrongSetting("renames", "Invalid rename mapping: %s (expected old:new)", pair)
		}
		renames[from] = to
	}
	return renames, nil
}

// Configure implements connect.Transform.
func (t *replaceField) Configure(s connect.Settings) (err error) {
	t.exclude, t.include, t.defaults = s.List("exclude"), s.List("include"), s.Bool("replace.null.with.default")
	t.renames, err = parseRenames(s.List("renames"))
	return err
}

func (t *replaceField) keeps(name string) bool {
	return !slices.Contains(t.exclude, name) && (len(t.include) == 0 || slices.Contains(t.include, name))
}

func (t *replaceField) renamed(name string) string {
	if to, ok := t.renames[name]; ok {
		return to
	}
	return name
}

// Apply implements connect.Transform.
func (t *replaceField) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	switch {
	case v.IsNull():
		return true, nil
	case s == nil:
		entries, err := entriesOf("replace_field", v)
		if err != nil {
			return false, err
		}
		out := make([]connect.MapEntry, 0, len(entries))
		for _, e := range entries {
			if e.Key.Kind() != connect.KindString {
				out = append(out, e)
			} else if name := e.Key.Str(); t.keeps(name) {
				out = append(out, connect.MapEntry{Key: connect.String(t.renamed(name)), Value: e.Value})
			}
		}
		t.side.set(r, nil, connect.Map(out))
		return true, nil
	}
	st, err := structOf("replace_field", s, v)
	if err != nil {
		return false, err
	}
	p, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	t.side.set(r, p.out, connect.StructValue(p.out.StructOf(p.row(st, t.defaults))))
	return true, nil
}

func (t *replaceField) compile(s *connect.Schema) (*reshape, error) {
	p := &reshape{}
	var fields []connect.Field
	for i, f := range s.Fields() {
		if t.keeps(f.Name) {
			p.from = append(p.from, i)
			fields = append(fields, connect.Field{Name: t.renamed(f.Name), Schema: f.Schema})
		}
	}
	var err error
	p.out, err = derive(s, fields)
	return p, err
}
