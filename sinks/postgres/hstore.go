package postgres

import (
	"encoding/json"
	"slices"

	"github.com/tidemill/tidemill/connect"
)

// encodeHstore writes "k"=>"v" pairs from a map, or from a text that holds a JSON
// object of texts, as a source gives hstore values.
func encodeHstore(s *connect.Schema) encoder {
	switch {
	case s.Kind() == connect.KindMap && s.Key().Kind() == connect.KindString && s.Elem().Kind() == connect.KindString:
		return func(dst []byte, v connect.Value) []byte {
			for i, e := range v.Map() {
				dst = appendPair(dst, i, e.Key.Str(), e.Value)
			}
			return dst
		}
	case s.Kind() == connect.KindString && s.Name() == dbzData+"Json":
		return appendHstoreJSON
	}
	// Anything else goes as text, which the server takes or refuses.
	return func(dst []byte, v connect.Value) []byte {
		if v.Kind() == connect.KindString {
			return append(dst, v.Str()...)
		}
		return connect.AppendJSON(dst, s, v)
	}
}

// appendHstoreJSON passes on what is no JSON object of texts as it is.
func appendHstoreJSON(dst []byte, v connect.Value) []byte {
	var pairs map[string]*string
	if err := json.Unmarshal(v.Bytes(), &pairs); err != nil || pairs == nil {
		return append(dst, v.Str()...)
	}
	keys := make([]string, 0, len(pairs))
	for k := range pairs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		value := connect.Value{}
		if p := pairs[k]; p != nil {
			value = connect.String(*p)
		}
		dst = appendPair(dst, i, k, value)
	}
	return dst
}

func appendPair(dst []byte, i int, key string, value connect.Value) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	dst = append(appendQuoted(dst, key), "=>"...)
	if value.IsNull() {
		return append(dst, "NULL"...)
	}
	return appendQuoted(dst, value.Str())
}

func appendQuoted(dst []byte, text string) []byte {
	dst = append(dst, '"')
	at := len(dst)
	dst = append(dst, text...)
	return append(escapeElement(dst, at), '"')
}
