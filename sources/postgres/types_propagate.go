package postgres

import (
	"math"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// The parameters of a schema that tell its column's type in the database, for
// column.propagate.source.type and datatype.propagate.source.type.
const (
	paramType    = "__debezium.source.column.type"
	paramLength  = "__debezium.source.column.length"
	paramScale   = "__debezium.source.column.scale"
	paramName    = "__debezium.source.column.name"
	paramComment = "__debezium.source.column.comment"
)

// propagation is which columns tell their types.
type propagation struct {
	columns, types patterns
}

func newPropagation(s connect.Settings) propagation {
	var p propagation
	// The patterns were checked with the settings.
	p.columns, _ = compilePatterns(s.List("column.propagate.source.type"))
	p.types, _ = compilePatterns(s.List("datatype.propagate.source.type"))
	return p
}

// matches tells whether one of the patterns matches a name under a table, given with
// or without the database.
func (ps patterns) matches(database string, t tableName, name string) bool {
	full := t.String() + "." + name
	return ps.match(full) || ps.match(database+"."+full)
}

// propagate adds to a column's schema what the column is in the database, where that
// is asked for.
func (c *compiler) propagate(t tableName, col relationColumn, facts columnFacts, cd codec) (codec, error) {
	asked := c.set.filter.propagation
	if len(asked.columns)+len(asked.types) == 0 || cd.schema == nil {
		return cd, nil
	}
	info, err := c.types.info(col.typ)
	if err != nil || info == nil {
		return cd, err
	}
	if !asked.columns.matches(c.set.database, t, col.name) && !asked.types.matches(c.set.database, t, info.name) {
		return cd, nil
	}
	length, scale, err := c.types.extent(info, col.mod)
	if err != nil {
		return cd, err
	}
	def := cd.schema.Def()
	def.Params = append(def.Params[:len(def.Params):len(def.Params)],
		connect.Param{Key: paramType, Value: strings.ToUpper(info.name)},
		connect.Param{Key: paramLength, Value: strconv.Itoa(length)},
		connect.Param{Key: paramScale, Value: strconv.Itoa(scale)},
		connect.Param{Key: paramName, Value: col.name})
	if facts.comment != "" {
		def.Params = append(def.Params, connect.Param{Key: paramComment, Value: facts.comment})
	}
	return cd.under(def)
}

// under returns the codec with another schema of the same shape. Structs know their
// schema, so they are made anew.
func (cd codec) under(def connect.SchemaDef) (codec, error) {
	s, err := def.Build()
	if err != nil {
		return cd, err
	}
	cd.schema = s
	if s.Kind() != connect.KindStruct {
		return cd, nil
	}
	again := func(read decodeFunc) decodeFunc {
		return func(a *arena, b []byte) (connect.Value, error) {
			v, err := read(a, b)
			if err != nil || v.IsNull() {
				return v, err
			}
			return a.structure(s, v.Struct().Values()), nil
		}
	}
	cd.decode = again(cd.decode)
	if cd.binary != nil {
		cd.binary = again(cd.binary)
	}
	return cd, nil
}

// extent returns the length and the scale of a type as the JDBC driver tells them,
// which is what consumers of these parameters know: digits of numbers, characters of
// text, and the largest integer where there is no bound.
func (t *typeTable) extent(info *typeInfo, mod int32) (length, scale int, err error) {
	for info.kind == 'd' {
		if mod < 0 {
			mod = info.baseMod
		}
		base, err := t.info(info.base)
		if err != nil {
			return 0, 0, err
		}
		if base == nil {
			break
		}
		info = base
	}
	const unbounded = math.MaxInt32
	switch info.name {
	case "bool", "char":
		return 1, 0, nil
	case "int2":
		return 5, 0, nil
	case "int4", "oid":
		return 10, 0, nil
	case "int8":
		return 19, 0, nil
	case "float4":
		return 8, 8, nil
	case "float8":
		return 17, 17, nil
	case "numeric":
		if mod < 4 {
			return 131089, 0, nil
		}
		length, scale = numericModifier(mod)
		return length, scale, nil
	case "bpchar", "varchar":
		if mod >= 4 {
			return int(mod) - 4, 0, nil
		}
	case "bit", "varbit":
		if mod > 0 {
			return int(mod), 0, nil
		}
	case "date":
		return 13, 0, nil
	case "time", "timetz", "timestamp", "timestamptz", "interval":
		length, scale = clockExtent(info.name, mod)
		return length, scale, nil
	}
	return unbounded, 0, nil
}

// clockExtent counts the characters of a time as it is shown, and the digits of its
// seconds' fraction.
func clockExtent(name string, mod int32) (length, scale int) {
	scale = 6
	if digits := mod & 0xffff; mod >= 0 && digits <= 6 {
		scale = int(digits)
	}
	const date, clock, zone, interval = 13, len("00:00:00"), len("+15:59"), 49
	fraction := scale + 1
	if scale == 0 {
		fraction = 0
	}
	switch name {
	case "interval":
		return interval, scale
	case "time":
		return clock + fraction, scale
	case "timetz":
		return clock + fraction + zone, scale
	case "timestamp":
		return date + 1 + clock + fraction, scale
	}
	return date + 1 + clock + fraction + zone, scale
}
