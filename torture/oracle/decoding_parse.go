package oracle

import (
	"errors"
	"strings"

	"github.com/tidemill/tidemill/torture/storm"
)

// decodedChange is one line of test_decoding that begins with the word table.
type decodedChange struct {
	tables   []string
	op       string
	old, row []storm.Column
}

// canonical are the types whose texts digests have in another form, by their numbers in
// pg_type.
var canonical = map[string]uint32{"timestamp without time zone": 1114, "numeric": 1700}

var errDecoding = errors.New("this is no line of test_decoding")

// parseChange reads a line without its first word, as test_decoding.c writes it:
// table: OP: old-key: name[type]:value … new-tuple: name[type]:value …
func parseChange(text string) (c decodedChange, err error) {
	p := lineParser{text}
	for {
		schema, ok := p.name(".")
		table, ok2 := p.name(":,")
		if !ok || !ok2 {
			return c, errDecoding
		}
		c.tables = append(c.tables, schema+"."+table)
		if end := p.next(); end == ':' {
			break
		}
		p.skip(" ")
	}
	op, rest, ok := strings.Cut(strings.TrimPrefix(p.rest, " "), ":")
	if !ok {
		return c, errDecoding
	}
	c.op, p.rest = op, strings.TrimPrefix(rest, " ")
	if op == "TRUNCATE" || p.skip("(no-tuple-data)") {
		return c, nil
	}
	if p.skip("old-key: ") {
		if c.old, err = p.columns(); err != nil {
			return c, err
		}
		p.skip("new-tuple: ")
	}
	c.row, err = p.columns()
	return c, err
}

// lineParser takes a line apart from its left.
type lineParser struct{ rest string }

func (p *lineParser) skip(prefix string) bool {
	rest, ok := strings.CutPrefix(p.rest, prefix)
	p.rest = rest
	return ok
}

func (p *lineParser) next() (b byte) {
	if p.rest != "" {
		b, p.rest = p.rest[0], p.rest[1:]
	}
	return b
}

// name reads an identifier, quoted or up to one of the ends, of which a point is taken
// too.
func (p *lineParser) name(ends string) (string, bool) {
	if !strings.HasPrefix(p.rest, `"`) {
		i := strings.IndexAny(p.rest, ends)
		if i < 0 {
			return "", false
		}
		name := p.rest[:i]
		p.rest = p.rest[i:]
		return name, p.point(ends)
	}
	name, ok := p.quoted('"')
	return name, ok && p.point(ends)
}

func (p *lineParser) point(ends string) bool { return ends != "." || p.next() == '.' }

// quoted reads a text between quotes, in which two stand for one.
func (p *lineParser) quoted(quote byte) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		if p.rest[i] != quote {
			b.WriteByte(p.rest[i])
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == quote {
			b.WriteByte(quote)
			i++
			continue
		}
		p.rest = p.rest[i+1:]
		return b.String(), true
	}
	return "", false
}

// columns reads name[type]:value until the line ends or the new row begins.
func (p *lineParser) columns() (list []storm.Column, err error) {
	for p.rest != "" && !strings.HasPrefix(p.rest, "new-tuple: ") {
		name, ok := p.name("[")
		kind, rest, ok2 := strings.Cut(strings.TrimPrefix(p.rest, "["), "]:")
		if !ok || !ok2 {
			return nil, errDecoding
		}
		p.rest = rest
		c := storm.Column{Name: storm.Plain(name)}
		if strings.HasPrefix(p.rest, "'") {
			if c.Text, ok = p.quoted('\''); !ok {
				return nil, errDecoding
			}
		} else {
			word, rest, _ := strings.Cut(p.rest, " ")
			p.rest = " " + rest
			switch word {
			case "null":
				c.Null = true
			case "unchanged-toast-datum":
				word = storm.Unavailable
			}
			if c.Text = word; c.Null {
				c.Text = ""
			}
		}
		if oid, ok := canonical[kind]; ok && !c.Null {
			c.Text = storm.Canonical(oid, c.Text)
		}
		list = append(list, c)
		p.rest = strings.TrimPrefix(p.rest, " ")
	}
	return list, nil
}
