package transforms

import (
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// The parts of the expected texts that come again and again.
const (
	citySchema   = "{name string, zip int32?}(City)?"
	personSchema = "{id int32, name string?, level int32?=3, city " + citySchema + "}(Person)"
	bern         = `{"name":"Bern","zip":3000}`
	head         = "shop.public.people\nkey string \"k\"\n"
	plainHead    = "shop.public.people\nkey - \"k\"\n"
)

func TestFieldTransforms(t *testing.T) {
	runCases(t, []transformCase{
		{"InsertField$Value", "topic.field=t;partition.field=p!;timestamp.field=at;static.field=s?;static.value=x", person(),
			head + "{id int32, name string?, level int32?=3, city " + citySchema + ", t string?, p int32, at int64(Timestamp v1)?, s string?}(Person) " +
				`{"id":7,"name":"Ann","level":3,"city":` + bern + `,"t":"shop.public.people","p":2,"at":1700000000123,"s":"x"}`},
		{"InsertField$Value", "static.field=s;static.value=x", plain(), plainHead + `- {"id":7,"name":"Ann","city":{"name":"Bern"},"s":"x"}`},
		{"InsertField$Value", "topic.field=t", tombstone(), head + "- null"},
		{"InsertField$Value", "topic.field=id", person(), "error occurs twice"},
		{"InsertField$Value", "", person(), "error No field insertion configured"},
		{"InsertField$Value", "static.field=x", person(), "error belong together"},
		{"InsertField$Value", "offset.field=o", person(), "error offset is not known"},
		{"InsertField$Key", "topic.field=t", person(), "error only structs"},

		{"ReplaceField$Value", "exclude=city,level;renames=id:key,name:label", person(), head + `{key int32, label string?}(Person) {"key":7,"label":"Ann"}`},
		{"ReplaceField$Value", "whitelist=id,level;replace.null.with.default=false", person(), head + `{id int32, level int32?=3}(Person) {"id":7,"level":null}`},
		{"ReplaceField$Value", "include=name;renames=name:n", plain(), plainHead + `- {"n":"Ann"}`},
		{"ReplaceField$Value", "exclude=x", tombstone(), head + "- null"},
		{"ReplaceField$Value", "renames=a", person(), "error Invalid rename mapping"},

		{"MaskField$Value", "fields=id,name,level", person(), head + personSchema + ` {"id":0,"name":"","level":0,"city":` + bern + `}`},
		{"MaskField$Value", "fields=id,name;replacement=42", person(), head + personSchema + ` {"id":42,"name":"42","level":3,"city":` + bern + `}`},
		{"MaskField$Value", "fields=id,absent", plain(), plainHead + `- {"id":0,"name":"Ann","city":{"name":"Bern"}}`},
		{"MaskField$Value", "fields=id;replacement=x", person(), "error Unable to convert x"},
		{"MaskField$Value", "fields=city", person(), "error Cannot mask value of type struct"},
		{"MaskField$Value", "fields=id", tombstone(), head + "- null"},

		{"ValueToKey", "fields=name,id", person(), "shop.public.people\nkey {name string?, id int32} {\"name\":\"Ann\",\"id\":7}\n" + personSchema + ` {"id":7,"name":"Ann","level":null,"city":` + bern + `}`},
		{"ValueToKey", "fields=id", plain(), "shop.public.people\nkey - {\"id\":7}\n" + `- {"id":7,"name":"Ann","city":{"name":"Bern"}}`},
		{"ValueToKey", "fields=nope", person(), "error Field does not exist: nope"},
		{"ValueToKey", "fields=id", tombstone(), "error only maps"},

		{"HoistField$Key", "field=id", person(), "shop.public.people\nkey {id string} {\"id\":\"k\"}\n" + personSchema + ` {"id":7,"name":"Ann","level":null,"city":` + bern + `}`},
		{"HoistField$Value", "field=f", plain(), plainHead + `- {"f":{"id":7,"name":"Ann","city":{"name":"Bern"}}}`},

		{"ExtractField$Value", "field=name", person(), head + `string? "Ann"`},
		{"ExtractField$Value", "field=level", person(), head + `int32?=3 3`},
		{"ExtractField$Value", "field=level;replace.null.with.default=false", person(), head + `int32?=3 null`},
		{"ExtractField$Value", "field=city.name;field.syntax.version=V2", person(), head + `string "Bern"`},
		{"ExtractField$Value", "field=`city`.name;field.syntax.version=V2", plain(), plainHead + `- "Bern"`},
		{"ExtractField$Value", "field=city.name", person(), "error Unknown field: city.name"},
		{"ExtractField$Value", "field=`city;field.syntax.version=V2", person(), "error backtick"},
		{"ExtractField$Value", "field=absent", plain(), plainHead + `- null`},
		{"ExtractField$Value", "field=id", tombstone(), head + "- null"},

		{"SetSchemaMetadata$Value", "schema.name=b.New;schema.version=4", person(),
			head + "{id int32, name string?, level int32?=3, city " + citySchema + "}(New v4) " + `{"id":7,"name":"Ann","level":3,"city":` + bern + `}`},
		{"SetSchemaMetadata$Key", "schema.name=K", person(), "shop.public.people\nkey string(K) \"k\"\n" + personSchema + ` {"id":7,"name":"Ann","level":null,"city":` + bern + `}`},
		{"SetSchemaMetadata$Value", "schema.name=x", plain(), "error has no schema"},
		{"SetSchemaMetadata$Value", "schema.name=x", tombstone(), head + "- null"},
		{"SetSchemaMetadata$Value", "", person(), "error Neither schema name nor version"},

		{"Flatten$Value", "delimiter=_", person(), head + `{id int32, name string?, level int32?=3, city_name string?, city_zip int32?}(Person) {"id":7,"name":"Ann","level":3,"city_name":"Bern","city_zip":3000}`},
		{"Flatten$Value", "", plain(), plainHead + `- {"id":7,"name":"Ann","city.name":"Bern"}`},
		{"Flatten$Value", "", tombstone(), head + "- null"},
		{"Flatten$Key", "", person(), "error only structs"},
	})
}

func TestFlattenOfWhatIsNotThere(t *testing.T) {
	r := person()
	st := r.Value.Struct()
	r.Value = rowOf(st.Schema(), connect.Int32(1), connect.Value{}, connect.Int32(2), connect.Value{})
	runCases(t, []transformCase{{"Flatten$Value", "", r, head + `{id int32, name string?, level int32?=3, city.name string?, city.zip int32?}(Person) {"id":1,"name":null,"level":2,"city.name":null,"city.zip":null}`}})
}

func TestHeaders(t *testing.T) {
	r := person()
	r.Headers = []connect.Header{{Key: "a", Value: connect.Int32(1)}, {Key: "b", Value: connect.Int32(2)}, {Key: "a", Value: connect.Int32(3)}}
	value := personSchema + ` {"id":7,"name":"Ann","level":null,"city":` + bern + `}`
	runCases(t, []transformCase{
		{"DropHeaders", "headers=a,x", r, head + value + "\nb: - 2"},
		{"InsertHeader", "header=h;value.literal=300", person(), head + value + "\nh: int16 300"},
		{"InsertHeader", "header=h;value.literal=true", person(), head + value + "\nh: boolean true"},
		{"InsertHeader", "header=h;value.literal=1.5", person(), head + value + "\nh: float32 1.5"},
		{"InsertHeader", "header=h;value.literal=inf", person(), head + value + "\nh: string \"inf\""},
		{"HeaderFrom$Value", "fields=id,level;headers=x,y;operation=copy", person(), head + value + "\nx: int32 7\ny: int32?=3 3"},
		{"HeaderFrom$Value", "fields=id,city;headers=x,y;operation=move", person(), head + `{name string?, level int32?=3}(Person) {"name":"Ann","level":null}` + "\nx: int32 7\ny: " + citySchema + " " + bern},
		{"HeaderFrom$Value", "fields=id;headers=x;operation=move", plain(), plainHead + `- {"name":"Ann","city":{"name":"Bern"}}` + "\nx: - 7"},
		{"HeaderFrom$Value", "fields=id;headers=x,y;operation=move", plain(), "error same number"},
		{"HeaderFrom$Value", "fields=nope;headers=x;operation=move", person(), "error Field does not exist"},
		{"Filter", "", person(), "dropped"},
	})
}

func TestRouters(t *testing.T) {
	value := "\nkey string \"k\"\n" + personSchema + ` {"id":7,"name":"Ann","level":null,"city":` + bern + `}`
	undated := person()
	undated.Timestamp = connect.NoTimestamp
	runCases(t, []transformCase{
		{"RegexRouter", `regex=shop\.public\.(.*);replacement=$1`, person(), "people" + value},
		{"RegexRouter", `regex=(?<first>\w+)\.(.*);replacement=${first}-$2\$`, person(), "shop-public.people$" + value},
		{"RegexRouter", `regex=shop;replacement=x`, person(), "shop.public.people" + value},
		{"RegexRouter", `regex=(a);replacement=$2`, person(), "error group 2"},
		{"RegexRouter", `regex=a;replacement=${x}`, person(), "error \"x\""},
		{"RegexRouter", `regex=(?!a).*;replacement=x`, person(), "error look-ahead"},
		{"TimestampRouter", "", person(), "shop.public.people-20231114" + value},
		{"TimestampRouter", "topic.format=${timestamp}_${topic};timestamp.format=yyyy-MM-dd'T'HH.mm.ss", person(), "2023-11-14T22.13.20_shop.public.people" + value},
		{"TimestampRouter", "", undated, "error Timestamp missing"},
		{"TimestampRouter", "timestamp.format=yyyyww", person(), "error not supported"},
	})
}

func castCase(spec string, s *connect.Schema, v connect.Value, want string) transformCase {
	return transformCase{"Cast$Value", "spec=" + spec, connect.Record{Topic: "t", ValueSchema: s, Value: v}, "t\n" + want}
}

func TestCast(t *testing.T) {
	dec := connect.DecimalSchema(6, 2)
	stamp := connect.SchemaDef{Kind: connect.KindInt64, Name: connect.LogicalTimestamp, Version: 1}.MustBuild()
	f64, i64, str := connect.Of(connect.KindFloat64), connect.Of(connect.KindInt64), connect.Of(connect.KindString)
	runCases(t, []transformCase{
		{"Cast$Value", "spec=id:string,level:int64,name:boolean", person(), head + "{id string, name boolean?, level int64?=3, city " + citySchema + `}(Person) {"id":"7","name":false,"level":3,"city":` + bern + `}`},
		{"Cast$Value", "spec=id:float32", plain(), plainHead + `- {"id":7.0,"name":"Ann","city":{"name":"Bern"}}`},
		{"Cast$Value", "spec=name:int8", person(), "error cannot be cast to int8"},
		{"Cast$Value", "spec=city:string", person(), "error a value of type struct"},
		{"Cast$Value", "spec=int8,id:string", person(), "error ONLY specify a single cast"},
		{"Cast$Value", "spec=id:bytes", person(), "error Invalid type"},
		{"Cast$Value", "spec=id:int8,id:int8", person(), "error once"},
		{"Cast$Value", "spec=int8", tombstone(), head + "- null"},
		{"Cast$Key", "spec=boolean", person(), "shop.public.people\nkey boolean false\n" + personSchema + ` {"id":7,"name":"Ann","level":null,"city":` + bern + `}`},
		castCase("int8", i64, connect.Int64(300), "int8 44"),
		castCase("int32", f64, connect.Float64(1e12), "int32 2147483647"),
		castCase("int64", f64, connect.Float64(-2.9), "int64 -2"),
		castCase("string", f64, connect.Float64(1e10), `string "1.0E10"`),
		castCase("string", f64, connect.Float64(0.00012), `string "1.2E-4"`),
		castCase("string", f64, connect.Float64(100), `string "100.0"`),
		castCase("string", dec, connect.Bytes([]byte{0xff, 0x38}), `string "-2.00"`),
		castCase("float64", dec, connect.Bytes([]byte{125}), `float64 1.25`),
		castCase("int16", dec, connect.Bytes([]byte{125}), `int16 1`),
		castCase("string", stamp, connect.Int64(0), `string "1970-01-01T00:00:00.000Z"`),
		castCase("boolean", str, connect.String("TRUE"), `boolean true`),
		castCase("float64", str, connect.String("1.5"), `float64 1.5`),
		castCase("string", connect.Of(connect.KindBytes), connect.Bytes([]byte{1, 2}), `string "AQI="`),
		castCase("int32", connect.Of(connect.KindBool), connect.Bool(true), `int32 1`),
	})
}

func TestTimestampConverter(t *testing.T) {
	logical := func(k connect.Kind, name string) *connect.Schema {
		return connect.SchemaDef{Kind: k, Name: name, Version: 1}.MustBuild()
	}
	stamp, date := logical(connect.KindInt64, connect.LogicalTimestamp), logical(connect.KindInt32, connect.LogicalDate)
	i64, str := connect.Of(connect.KindInt64), connect.Of(connect.KindString)
	whole := func(config string, s *connect.Schema, v connect.Value, want string) transformCase {
		return transformCase{"TimestampConverter$Value", config, connect.Record{Topic: "t", ValueSchema: s, Value: v}, "t\n" + want}
	}
	const format = ";format=yyyy-MM-dd HH:mm:ss.SSS"
	runCases(t, []transformCase{
		whole("target.type=string"+format, stamp, connect.Int64(1700000000123), `string "2023-11-14 22:13:20.123"`),
		whole("target.type=Timestamp"+format, str, connect.String("2023-11-14 22:13:20.123"), `int64(Timestamp v1) 1700000000123`),
		whole("target.type=Date", stamp, connect.Int64(-1), `int32(Date v1) -1`),
		whole("target.type=Time", stamp, connect.Int64(-1), `int32(Time v1) 86399999`),
		whole("target.type=unix;unix.precision=microseconds", stamp, connect.Int64(5), `int64 5000`),
		whole("target.type=Timestamp;unix.precision=nanoseconds", i64, connect.Int64(1700000000123456789), `int64(Timestamp v1) 1700000000123`),
		whole("target.type=Timestamp;unix.precision=seconds", i64, connect.Int64(17), `int64(Timestamp v1) 17000`),
		whole("target.type=unix", date, connect.Int32(1), `int64 86400000`),
		whole("target.type=unix", nil, connect.Value{}, `- null`),
		whole("target.type=unix", i64.AsOptional(), connect.Value{}, `int64? null`),
		{"TimestampConverter$Value", "target.type=string", person(), "error requires format"},
		{"TimestampConverter$Value", "target.type=unix;field=nope", person(), "error Unknown field"},
		{"TimestampConverter$Value", "target.type=unix;field=name" + format, person(), "error Unparseable date"},
		{"TimestampConverter$Value", "target.type=Timestamp;field=id;unix.precision=seconds", person(),
			head + "{id int64(Timestamp v1), name string?, level int32?=3, city " + citySchema + `}(Person) {"id":7000,"name":"Ann","level":3,"city":` + bern + `}`},
		{"TimestampConverter$Value", "target.type=string;field=id" + format, plain(), plainHead + `- {"id":"1970-01-01 00:00:00.007","name":"Ann","city":{"name":"Bern"}}`},
		{"TimestampConverter$Value", "target.type=unix;field=id" + format, tombstone(), head + "- null"},
	})
}
