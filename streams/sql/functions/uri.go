package functions

import (
	"errors"
	"strconv"
	"strings"
)

// uri is what a text says of a resource, by RFC 2396 as Java reads it. Escapes are taken away
// from its parts, and has tells which of them are there.
type uri struct {
	scheme, host, path, query, fragment     string
	hasHost, hasPath, hasQuery, hasFragment bool
	port                                    int // -1 for none
}

var errURI = errors.New("the text is no URI")

// parseURI reads a URI. Characters outside of ASCII are taken as they are, others that have no
// place in a URI, such as spaces, are refused.
func parseURI(s string) (u uri, err error) {
	u.port = -1
	if s == "" || !uriCharacters(s) {
		return u, errURI
	}
	rest, fragment, ok := strings.Cut(s, "#")
	u.fragment, u.hasFragment = unescapeURI(fragment), ok
	if strings.Contains(fragment, "#") {
		return u, errURI
	}
	if scheme, after, ok := strings.Cut(rest, ":"); ok && !strings.ContainsAny(scheme, "/?") {
		if !isScheme(scheme) || after == "" {
			return u, errURI
		}
		u.scheme, rest = scheme, after
		if after[0] != '/' { // Opaque, such as mailto:a@b.
			return u, nil
		}
	}
	rest, query, ok := strings.Cut(rest, "?")
	u.query, u.hasQuery = unescapeURI(query), ok
	if authority, ok := strings.CutPrefix(rest, "//"); ok {
		authority, path, slash := strings.Cut(authority, "/")
		if rest = ""; slash {
			rest = "/" + path
		}
		u.authority(authority)
	}
	u.path, u.hasPath = unescapeURI(rest), true
	return u, nil
}

// authority reads user@host:port. One that is none, such as a name with an underscore, is the
// affair of who registered it: it has neither host nor port.
func (u *uri) authority(s string) {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
	}
	n, err := strconv.Atoi(port)
	if port != "" && (err != nil || n < 0) || !isHost(host) {
		return
	}
	u.host, u.hasHost = host, true
	if port != "" {
		u.port = n
	}
}

func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// isHost tells whether s is a name, an address, or an IPv6 address in brackets.
func isHost(s string) bool {
	if strings.HasPrefix(s, "[") {
		return strings.HasSuffix(s, "]")
	}
	for _, c := range []byte(s) {
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z'; !letter && !strings.ContainsRune("0123456789-.", rune(c)) {
			return false
		}
	}
	return s != ""
}

func uriCharacters(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
			return false
		}
		if c <= ' ' || c == 0x7f || strings.IndexByte(`"<>\^`+"`{|}", c) >= 0 {
			return false
		}
	}
	return true
}

// unescapeURI takes away the escapes; a plus sign stays one. Bytes that are no UTF-8 become
// the replacement character.
func unescapeURI(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8) // The digits were looked at before.
			out = append(out, byte(n))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return strings.ToValidUTF8(string(out), "\ufffd")
}
