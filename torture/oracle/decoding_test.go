package oracle

import (
	"reflect"
	"testing"

	"github.com/tidemill/tidemill/torture/storm"
)

// TestParseChange reads lines as test_decoding writes them.
func TestParseChange(t *testing.T) {
	text := func(name, text string) storm.Column { return storm.Column{Name: name, Text: text} }
	for line, want := range map[string]decodedChange{
		`public.xfer: INSERT: id[bigint]:-7 note[text]:'it''s: a [b]:''c''' gone[integer]:null ok[boolean]:true`: {
			tables: []string{"public.xfer"}, op: "INSERT",
			row: []storm.Column{text("id", "-7"), text("note", "it's: a [b]:'c'"), {Name: "gone", Null: true}, text("ok", "true")},
		},
		`public."Mix é""d ""T""": UPDATE: "Key"[uuid]:'u' "päy load"[jsonb]:'{"a": 1}' arr[integer[]]:'{1,NULL}' ts[timestamp without time zone]:'1970-01-01 00:00:01.5'`: {
			tables: []string{`public.Mix é"d "T"`}, op: "UPDATE",
			row: []storm.Column{text("Key", "u"), text("p_y_load", `{"a": 1}`), text("arr", "{1,NULL}"), text("ts", "1500000")},
		},
		`public.acct: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2 pad[text]:unchanged-toast-datum`: {
			tables: []string{"public.acct"}, op: "UPDATE",
			old: []storm.Column{text("id", "1")}, row: []storm.Column{text("id", "2"), text("pad", storm.Unavailable)},
		},
		`public.acct: DELETE: (no-tuple-data)`:                        {tables: []string{"public.acct"}, op: "DELETE"},
		`public.a, public.side: TRUNCATE: restart_seqs cascade`:       {tables: []string{"public.a", "public.side"}, op: "TRUNCATE"},
		`public.nokey: DELETE: x[integer]:1 y[text]:'two words, yes'`: {tables: []string{"public.nokey"}, op: "DELETE", row: []storm.Column{text("x", "1"), text("y", "two words, yes")}},
	} {
		got, err := parseChange(line)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", line, got, err, want)
		}
	}
	for _, line := range []string{"", "public", "public.a", "public.a: INSERT", "public.a: INSERT: x", `public.a: INSERT: x[text]:'open`, `public."a: INSERT: `} {
		if got, err := parseChange(line); err == nil {
			t.Errorf("%q: %+v", line, got)
		}
	}
}
