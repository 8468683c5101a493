package postgres

import (
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect/connecttest"
)

func TestNamesThatNeedQuotes(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE SCHEMA "Quoted_"" . Schema"; CREATE TABLE "Quoted_"" . Schema"."Quoted_"" . Täble" ("Id ""x""" int PRIMARY KEY, "select" text, "a\b" text)`)
	d.exec(`INSERT INTO "Quoted_"" . Schema"."Quoted_"" . Täble" VALUES (1, 'x', 'y')`)
	d.slot = "0" + strings.TrimPrefix(d.slot, "slot_")
	run := d.start(&connecttest.Offsets{}, "publication.name", `My "Pub', x`, "schema.include.list", `Quoted_" \. Schema`, "field.name.adjustment.mode", "avro", "schema.name.adjustment.mode", "avro")
	d.streaming()
	d.exec(`UPDATE "Quoted_"" . Schema"."Quoted_"" . Täble" SET "select" = 'z'`)
	records := run.Take(2)
	if got := records[1].Value.Struct().Get("after").String(); got != `{"Id__x_":1,"select":"z","a_b":"y"}` {
		t.Error(got)
	}
	if records[0].Topic != "shop.Quoted___._Schema.Quoted___._T_ble" || records[1].ValueSchema.Name() != "shop.Quoted___._Schema.Quoted___._T_ble.Envelope" {
		t.Errorf("%q %q", records[0].Topic, records[1].ValueSchema.Name())
	}
}

func TestTopicNames(t *testing.T) {
	for in, want := range map[string]string{"a.b-c_D9": "a.b-c_D9", "a b": "a_b", "é": "_", "𝄞": "__", "..": "__", strings.Repeat("x", 300): strings.Repeat("x", 249)} {
		if got := topicName(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
	if got := nameAdjuster("avro_unicode", false)("9a_é"); got != "_u0039a_u005f_u00e9" {
		t.Error(got)
	}
}

func TestUnknownTypesAndValuesThatDoNotFit(t *testing.T) {
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, q tsquery, n numeric(6,2), m int[])`)
	d.exec(`INSERT INTO a VALUES (1, '''fat'' <-> ''cat''', 'NaN', '{{1,2},{3,4}}')`)
	run := d.start(&connecttest.Offsets{}, "include.unknown.datatypes", "true", "binary.handling.mode", "hex")
	if got := run.Take(1)[0].Value.Struct().Get("after").String(); got != `{"id":1,"q":"2766617427203c2d3e202763617427","n":null,"m":null}` {
		t.Error(got)
	}
	if n := run.Metrics.Counter("values_unreadable_total"); n != 2 {
		t.Errorf("%d values were counted", n)
	}
	run.Stop()
	err := failure(t, d.config("event.converting.failure.handling.mode", "fail", "topic.prefix", "strict"), &connecttest.Offsets{})
	if err.Code != "pg.value" || err.Place != "public.a.n" || !strings.Contains(err.Mend, "warn") {
		t.Error(err)
	}
}
