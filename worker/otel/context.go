package otel

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

// Header is the header in which records carry a [Context]: that of W3C Trace Context.
const Header = "traceparent"

// Context names a span to those who come after it.
type Context struct {
	Trace   [16]byte
	Span    [8]byte
	Sampled bool // Spans of the trace are sent to somebody.
}

// newContext returns a span's, of the same trace if there is one.
func newContext(of Context) Context {
	c := Context{Trace: of.Trace, Sampled: true}
	for c.Trace == [16]byte{} {
		fill(c.Trace[:])
	}
	for c.Span == [8]byte{} {
		fill(c.Span[:])
	}
	return c
}

func fill(id []byte) {
	for i := 0; i < len(id); i += 8 {
		n := rand.Uint64()
		for k := range 8 {
			id[i+k] = byte(n >> (8 * k))
		}
	}
}

// String writes the context as W3C's traceparent, in the version 00.
func (c Context) String() string {
	flags := "00"
	if c.Sampled {
		flags = "01"
	}
	return "00-" + hex.EncodeToString(c.Trace[:]) + "-" + hex.EncodeToString(c.Span[:]) + "-" + flags
}

// Parse reads W3C's traceparent. Later versions are read as far as they are like 00.
func Parse(text []byte) (c Context, ok bool) {
	const length = 55
	if len(text) < length || len(text) > length && (text[length] != '-' || string(text[:2]) == "00") {
		return Context{}, false
	}
	head := string(text[:length])
	var version, flags [1]byte
	if head != strings.ToLower(head) || head[2] != '-' || head[35] != '-' || head[52] != '-' {
		return Context{}, false
	}
	for _, part := range []struct {
		dst  []byte
		from int
	}{{version[:], 0}, {c.Trace[:], 3}, {c.Span[:], 36}, {flags[:], 53}} {
		if _, err := hex.Decode(part.dst, text[part.from:part.from+2*len(part.dst)]); err != nil {
			return Context{}, false
		}
	}
	if version[0] == 0xff || c.Trace == [16]byte{} || c.Span == [8]byte{} {
		return Context{}, false
	}
	c.Sampled = flags[0]&1 != 0
	return c, true
}
