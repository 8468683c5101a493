package raw

import (
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// maxDepth bounds how deep arrays and maps may stand in one another in a header.
const maxDepth = 64

// nested reads arrays and maps from a header's text. A method that returns false
// has met something that is neither, and the whole text is then a string.
type nested struct {
	text string
	at   int
}

// skip passes over white space, and over c if it comes next.
func (p *nested) skip(c byte) bool {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *nested) value(depth int) (*connect.Schema, connect.Value, bool) {
	none := connect.Value{}
	switch {
	case depth > maxDepth:
		return nil, none, false
	case p.skip('"'):
		text, ok := p.quoted()
		if !ok {
			return nil, none, false
		}
		if s, v, ok := guessTime(text); ok {
			return s, v, true
		}
		return connect.Of(connect.KindString), connect.String(text), true
	case p.skip('['):
		return p.array(depth + 1)
	case p.skip('{'):
		return p.object(depth + 1)
	}
	start := p.at
	for p.at < len(p.text) && !p.ends() {
		p.at++
	}
	return guessWord(strings.TrimSpace(p.text[start:p.at]))
}

// ends tells whether a bare word ends here. A colon inside a time does not end it.
func (p *nested) ends() bool {
	switch p.text[p.at] {
	case ',', ']', '}', '[', '{', '"':
		return true
	case ':':
		digit := func(i int) bool { return i >= 0 && i < len(p.text) && p.text[i] >= '0' && p.text[i] <= '9' }
		inTime := digit(p.at-1) && digit(p.at-2) && !digit(p.at-3) && digit(p.at+1) && digit(p.at+2)
		return p.text[p.at-1] != '\\' && !inTime
	}
	return false
}

// quoted reads the rest of a string whose first quote has been read.
func (p *nested) quoted() (string, bool) {
	var b strings.Builder
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case '"':
			p.at++
			return b.String(), true
		case '\\':
			if p.at+1 < len(p.text) && (p.text[p.at+1] == '"' || p.text[p.at+1] == '\\') {
				p.at++
			}
			b.WriteByte(p.text[p.at])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

func (p *nested) array(depth int) (*connect.Schema, connect.Value, bool) {
	var elems []connect.Value
	var common merged
	for !p.skip(']') {
		if len(elems) > 0 && !p.skip(',') {
			return nil, connect.Value{}, false
		}
		s, v, ok := p.value(depth)
		if !ok {
			return nil, connect.Value{}, false
		}
		common.add(s, v)
		elems = append(elems, v)
	}
	elem, ok := common.schema()
	if !ok {
		return nil, connect.Array(elems), true
	}
	for i := range elems {
		elems[i] = widen(elems[i], elem.Kind())
	}
	return connect.SchemaDef{Kind: connect.KindArray, Elem: elem}.MustBuild(), connect.Array(elems), true
}

func (p *nested) object(depth int) (*connect.Schema, connect.Value, bool) {
	var entries []connect.MapEntry
	var keys, values merged
	for !p.skip('}') {
		if len(entries) > 0 && !p.skip(',') {
			return nil, connect.Value{}, false
		}
		ks, k, ok := p.value(depth)
		if !ok || k.IsNull() || !p.skip(':') {
			return nil, connect.Value{}, false
		}
		vs, v, ok := p.value(depth)
		if !ok {
			return nil, connect.Value{}, false
		}
		keys.add(ks, k)
		values.add(vs, v)
		entries = append(entries, connect.MapEntry{Key: k, Value: v})
	}
	key, keyed := keys.schema()
	elem, ok := values.schema()
	if !keyed || !ok {
		return nil, connect.Map(entries), true
	}
	for i := range entries {
		entries[i].Key = widen(entries[i].Key, key.Kind())
		entries[i].Value = widen(entries[i].Value, elem.Kind())
	}
	return connect.SchemaDef{Kind: connect.KindMap, Key: key, Elem: elem}.MustBuild(), connect.Map(entries), true
}

// merged finds the schema that all elements of an array or map share: the same one,
// or the widest of plain numbers.
type merged struct {
	common   *connect.Schema
	mixed    bool
	optional bool
}

func (m *merged) add(s *connect.Schema, v connect.Value) {
	switch {
	case v.IsNull():
		m.optional = true
	case s == nil:
		m.mixed = true
	case m.common == nil:
		m.common = s
	case m.common != s:
		wide, ok := widest(m.common, s)
		m.common, m.mixed = wide, m.mixed || !ok
	}
}

func (m *merged) schema() (*connect.Schema, bool) {
	if m.common == nil || m.mixed {
		return nil, false
	}
	if m.optional {
		return m.common.AsOptional(), true
	}
	return m.common, true
}

// widest returns the schema of plain numbers that holds both.
func widest(a, b *connect.Schema) (*connect.Schema, bool) {
	if a.Name() != "" || b.Name() != "" || a.Kind() > connect.KindFloat64 || b.Kind() > connect.KindFloat64 {
		return a, false
	}
	small, large := min(a.Kind(), b.Kind()), max(a.Kind(), b.Kind())
	if large == connect.KindFloat32 && (small == connect.KindInt32 || small == connect.KindInt64) {
		large = connect.KindFloat64
	}
	return connect.Of(large), true
}

// widen returns v as a number of kind k, which holds it.
func widen(v connect.Value, k connect.Kind) connect.Value {
	if v.IsNull() || v.Kind() == k {
		return v
	}
	var f float64
	switch {
	case v.IsInt() && k <= connect.KindInt64:
		return connect.IntOf(k, v.Int())
	case v.IsInt():
		f = float64(v.Int())
	case v.IsFloat():
		// The digits of the shorter number are what was written.
		f, _ = strconv.ParseFloat(strconv.FormatFloat(v.Float(), 'g', -1, 32), 64)
	default:
		return v
	}
	if k == connect.KindFloat32 {
		return connect.Float32(float32(f))
	}
	return connect.Float64(f)
}
