package transforms

import (
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func extractFieldPlugins() []connect.Plugin[connect.Transform] {
	return both("ExtractField", "Replaces the key or value with one of its fields.", connect.NewConfigDef(
		connect.ConfigKey{Name: "field", Required: true, Importance: connect.Medium, Doc: "The field."},
		connect.ConfigKey{Name: "field.syntax.version", Default: "V1", Check: connect.OneOf("V1", "V2"), Importance: connect.High, Doc: "V2 reads the field as a path with dots; backticks hold a name that has dots itself."},
		replaceNull(),
	), func(k side) connect.Transform { return &extractField{side: k} })
}

type extractField struct {
	base
	side     side
	path     []string
	defaults bool
	plans    plans[extractPlan]
}

// extractPlan is where the field stands, and its schema.
type extractPlan struct {
	at  []int
	out *connect.Schema
}

// Configure implements connect.Transform.
func (t *extractField) Configure(s connect.Settings) (err error) {
	t.path, t.defaults = []string{s.String("field")}, s.Bool("replace.null.with.default")
	if strings.EqualFold(s.String("field.syntax.version"), "V2") {
		t.path, err = splitPath(s.String("field"))
	}
	return err
}

// splitPath divides a path at its dots (KIP-821): a name in backticks may hold dots,
// and a backslash before a backtick keeps it.
func splitPath(text string) ([]string, error) {
	var path []string
	for rest := text; ; {
		var name string
		if strings.HasPrefix(rest, "`") {
			end := 1
			for end < len(rest) && (rest[end] != '`' || rest[end-1] == '\\' || end+1 < len(rest) && rest[end+1] != '.') {
				end++
			}
			if end == len(rest) {
				return nil, wrongSetting("field", "the path %q has a backtick without its partner", text)
			}
			name, rest = strings.ReplaceAll(rest[1:end], "\\`", "`"), rest[end+1:]
		} else {
			end := strings.IndexByte(rest, '.')
			if end < 0 {
				end = len(rest)
			}
			name, rest = rest[:end], rest[end:]
		}
		path = append(path, name)
		if rest == "" {
			return path, nil
		}
		rest = rest[1:] // The dot.
	}
}

// Apply implements connect.Transform.
func (t *extractField) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	if s == nil {
		for _, name := range t.path {
			if v.IsNull() {
				break
			}
			entries, err := entriesOf("extract_field", v)
			if err != nil {
				return false, err
			}
			v, _ = lookup(entries, name)
		}
		t.side.set(r, nil, v)
		return true, nil
	}
	p, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	for _, i := range p.at {
		if v.IsNull() {
			break
		}
		st, err := structOf("extract_field", s, v)
		if err != nil {
			return false, err
		}
		v = field(st, i, t.defaults)
	}
	t.side.set(r, p.out, v)
	return true, nil
}

func (t *extractField) compile(s *connect.Schema) (p extractPlan, err error) {
	for _, name := range t.path {
		i := s.Index(name)
		if s.Kind() != connect.KindStruct || i < 0 {
			return p, bad("extract_field", "Unknown field: %s", strings.Join(t.path, "."))
		}
		p.at = append(p.at, i)
		s = s.Fields()[i].Schema
	}
	p.out = s
	return p, nil
}
