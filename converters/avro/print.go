package avro

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// printer writes schemas as JSON, each part in the order in which Avro's Java
// library prints it, so that a registry takes ours and that of Confluent's converter
// for one and the same.
type printer struct {
	defined map[*node]bool
	space   string
}

// schemaText returns n as JSON.
func schemaText(n *node) string {
	p := printer{defined: map[*node]bool{}}
	return string(p.node(nil, n))
}

// quote appends text as a JSON string, with Jackson's escapes.
func quote(dst []byte, text string) []byte {
	const digits = "0123456789ABCDEF"
	dst = append(dst, '"')
	for _, r := range text {
		if i := strings.IndexRune("\"\\\b\f\n\r\t", r); i >= 0 {
			dst = append(dst, '\\', `"\bfnrt`[i])
		} else if r < 0x20 {
			dst = append(dst, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

func (p *printer) node(dst []byte, n *node) []byte {
	switch {
	case n.typ == tUnion:
		dst = append(dst, '[')
		for i, t := range n.types {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = p.node(dst, t)
		}
		return append(dst, ']')
	case n.named() && p.defined[n]:
		return quote(dst, p.reference(n))
	case n.typ <= tString && len(n.props) == 0:
		return quote(dst, n.typ.String())
	}
	dst = quote(append(dst, `{"type":`...), n.typ.String())
	saved := p.space
	if n.named() {
		p.defined[n] = true
		dst = p.name(dst, n)
	}
	dst = appendProps(p.body(dst, n), n.props)
	p.space = saved
	return append(dst, '}')
}

// reference is the name by which a type is referred to from the present namespace.
func (p *printer) reference(n *node) string {
	if space, name := splitName(n.name); space == p.space {
		return name
	}
	return n.name
}

func (p *printer) name(dst []byte, n *node) []byte {
	space, name := splitName(n.name)
	dst = quote(append(dst, `,"name":`...), name)
	if space != p.space {
		dst = quote(append(dst, `,"namespace":`...), space)
	}
	p.space = space
	if n.doc != "" {
		dst = quote(append(dst, `,"doc":`...), n.doc)
	}
	return dst
}

func (p *printer) body(dst []byte, n *node) []byte {
	switch n.typ {
	case tRecord:
		dst = append(dst, `,"fields":[`...)
		for i := range n.fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = p.field(dst, &n.fields[i])
		}
		return append(dst, ']')
	case tEnum:
		dst = append(dst, `,"symbols":[`...)
		for i, s := range n.symbols {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = quote(dst, s)
		}
		dst = append(dst, ']')
		if n.unknown != "" {
			dst = quote(append(dst, `,"default":`...), n.unknown)
		}
	case tFixed:
		dst = strconv.AppendInt(append(dst, `,"size":`...), int64(n.size), 10)
	case tArray:
		dst = p.node(append(dst, `,"items":`...), n.elem)
	case tMap:
		dst = p.node(append(dst, `,"values":`...), n.elem)
	}
	return dst
}

func (p *printer) field(dst []byte, f *nodeField) []byte {
	dst = quote(append(dst, `{"name":`...), f.name)
	dst = p.node(append(dst, `,"type":`...), f.node)
	if f.doc != "" {
		dst = quote(append(dst, `,"doc":`...), f.doc)
	}
	if f.def != nil {
		dst = append(append(dst, `,"default":`...), f.def...)
	}
	return append(appendProps(dst, f.props), '}')
}

func appendProps(dst []byte, props []prop) []byte {
	for _, p := range props {
		dst = append(quote(append(dst, ','), p.key), ':')
		dst = append(dst, p.value...)
	}
	return dst
}
