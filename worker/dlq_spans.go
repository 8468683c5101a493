package worker

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// spans is a set of offsets: ranges in their order, which neither touch nor overlap. It
// stays small where neighbours belong to it, which is how letters are replayed.
type spans []span

// span are the offsets from from up to, and without, to.
type span struct{ from, to int64 }

// find returns the place of the first range that ends behind an offset.
func (s spans) find(offset int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].to > offset })
}

// has tells whether an offset belongs to the set.
func (s spans) has(offset int64) bool {
	i := s.find(offset)
	return i < len(s) && s[i].from <= offset
}

// add puts one offset into the set.
func (s *spans) add(offset int64) {
	if s.has(offset) {
		return
	}
	at := s.find(offset)
	before := at > 0 && (*s)[at-1].to == offset
	after := at < len(*s) && (*s)[at].from == offset+1
	switch {
	case before && after:
		(*s)[at-1].to = (*s)[at].to
		*s = slices.Delete(*s, at, at+1)
	case before:
		(*s)[at-1].to++
	case after:
		(*s)[at].from--
	default:
		*s = slices.Insert(*s, at, span{offset, offset + 1})
	}
}

// remove takes one offset out of the set.
func (s *spans) remove(offset int64) {
	at := s.find(offset)
	if at == len(*s) || (*s)[at].from > offset {
		return
	}
	r := (*s)[at]
	var left []span
	if r.from < offset {
		left = append(left, span{r.from, offset})
	}
	if offset+1 < r.to {
		left = append(left, span{offset + 1, r.to})
	}
	*s = slices.Replace(*s, at, at+1, left...)
}

// forget takes out what lies before an offset: it is there no more.
func (s *spans) forget(before int64) {
	at := s.find(before)
	*s = slices.Delete(*s, 0, at)
	if len(*s) > 0 {
		(*s)[0].from = max((*s)[0].from, before)
	}
}

// firstOutside returns the first offset from one on that is not in the set.
func (s spans) firstOutside(from int64) int64 {
	if i := s.find(from); i < len(s) && s[i].from <= from {
		return s[i].to
	}
	return from
}

// count returns how many offsets from one on are in the set.
func (s spans) count(from int64) (n int64) {
	for _, r := range s {
		n += max(0, r.to-max(r.from, from))
	}
	return n
}

// String writes the set as 1-5,7: ranges with both their ends.
func (s spans) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(r.from, 10))
		if r.to > r.from+1 {
			b.WriteByte('-')
			b.WriteString(strconv.FormatInt(r.to-1, 10))
		}
	}
	return b.String()
}

// parseSpans reads what String has written.
func parseSpans(text string) (s spans, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return nil, err
		}
		to, err := strconv.ParseInt(last, 10, 64)
		if err != nil {
			return nil, err
		}
		if to < from || from < 0 || len(s) > 0 && from <= s[len(s)-1].to-1 {
			return nil, fmt.Errorf("%q is out of order", part)
		}
		s = append(s, span{from, to + 1})
	}
	return s, nil
}
