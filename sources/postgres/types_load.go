package postgres

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// noEncoding is the encoding of a database that does not know how its text is encoded.
const noEncoding = "SQL_ASCII"

// sendAsStored has a database without an encoding send text as it is. It would refuse
// whole tables otherwise, over one value that is not UTF-8; the codecs look at each
// value instead.
func sendAsStored(ctx context.Context, conn *pgconn.PgConn) error {
	if conn.ParameterStatus("server_encoding") != noEncoding {
		return nil
	}
	if _, err := conn.Exec(ctx, "SET client_encoding = "+noEncoding).ReadAll(); err != nil {
		_ = conn.Close(ctx) // It is of no use to anyone.
		return explain(err, "setting the encoding of the connection")
	}
	return nil
}

// A type's row, with what belongs to it in other tables: an array is the type that
// another one names as its array (the old vectors of the catalogue are none), a range
// has a subtype and a multirange its range, in a column that versions before 14 do not
// have.
const queryType = `SELECT n.nspname, t.typname, t.typtype, e.oid IS NOT NULL, t.typelem, coalesce(e.typdelim, ','),
	t.typbasetype, t.typtypmod, t.typndims, coalesce(r.rngsubtype, mr.rngtypid, 0), t.typrelid
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
LEFT JOIN pg_catalog.pg_range mr ON t.typtype = 'm' AND pg_catalog.to_jsonb(mr) ->> 'rngmultitypid' = t.oid::text
WHERE t.oid = $1::oid`

// loadType reads pg_type; nil when there is no such type.
func (d *db) loadType(ctx context.Context, oid uint32) (*typeInfo, error) {
	id := strconv.FormatUint(uint64(oid), 10)
	r, err := d.row(ctx, queryType, id)
	if err != nil || r == nil {
		return nil, explain(err, "reading about a type")
	}
	info := &typeInfo{
		oid: oid, schema: string(r[0]), name: string(r[1]), kind: r[2][0], array: truth(r[3]), elem: uint32(number(r[4])),
		delim: r[5][0], base: uint32(number(r[6])), baseMod: int32(number(r[7])), dims: int(number(r[8])), subtype: uint32(number(r[9])),
	}
	info.unchecked = d.ParameterStatus("server_encoding") == noEncoding
	switch info.kind {
	case 'e':
		labels, err := d.rows(ctx, "SELECT enumlabel FROM pg_catalog.pg_enum WHERE enumtypid = $1::oid ORDER BY enumsortorder", id)
		if err != nil {
			return nil, explain(err, "reading the labels of an enum")
		}
		for _, l := range labels {
			info.labels = append(info.labels, string(l[0]))
		}
	case 'c':
		attributes, err := d.rows(ctx, `SELECT attname, atttypid, atttypmod, attndims FROM pg_catalog.pg_attribute
			WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, string(r[10]))
		if err != nil {
			return nil, explain(err, "reading the fields of a composite type")
		}
		for _, a := range attributes {
			info.attributes = append(info.attributes, attribute{string(a[0]), uint32(number(a[1])), int32(number(a[2])), int(number(a[3]))})
		}
	}
	return info, nil
}
