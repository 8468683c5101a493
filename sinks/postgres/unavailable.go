package postgres

import (
	"crypto/md5"
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// unavailable recognises what a source writes for a large value that PostgreSQL did
// not send, because it had not changed: the placeholder, in the forms that
// Debezium gives it for each type.
type unavailable struct {
	text  string
	uuid  string // The name-based UUID of the placeholder, for arrays of UUIDs.
	pairs string // As hstore's JSON.
}

func newUnavailable(placeholder string) *unavailable {
	u := &unavailable{text: placeholder}
	// Version 3, as java.util.UUID.nameUUIDFromBytes makes them.
	sum := md5.Sum([]byte(placeholder))
	sum[6] = sum[6]&0x0f | 0x30
	sum[8] = sum[8]&0x3f | 0x80
	u.uuid = fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:])
	quoted := connect.String(placeholder).String()
	u.pairs = "{" + quoted + ":" + quoted + "}"
	return u
}

// is tells whether v stands for a value that is not there.
func (u *unavailable) is(v connect.Value) bool {
	switch v.Kind() {
	case connect.KindString:
		return v.Str() == u.text || v.Len() == len(u.pairs) && v.Str() == u.pairs
	case connect.KindBytes:
		return string(v.Bytes()) == u.text
	case connect.KindArray:
		return u.isArray(v.Array())
	case connect.KindMap:
		entries := v.Map()
		return len(entries) == 1 && u.is(entries[0].Key) && u.is(entries[0].Value)
	}
	return false
}

func (u *unavailable) isArray(elems []connect.Value) bool {
	if len(elems) == 1 {
		only := elems[0]
		return u.is(only) || only.Kind() == connect.KindString && only.Str() == u.uuid
	}
	if len(elems) != len(u.text) {
		return false
	}
	for i, e := range elems {
		if !e.IsInt() || e.Int() != int64(u.text[i]) {
			return false
		}
	}
	return len(elems) > 0
}

// canBe tells whether values of the schema may be placeholders, so that others are
// not looked at.
func (u *unavailable) canBe(s *connect.Schema) bool {
	if u.text == "" {
		return false
	}
	switch s.Kind() {
	case connect.KindString, connect.KindArray, connect.KindMap:
		return true
	case connect.KindBytes:
		_, decimal := s.DecimalScale()
		return !decimal
	}
	return false
}
