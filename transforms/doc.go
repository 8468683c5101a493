// Package transforms holds the single message transforms and predicates: those of
// Kafka Connect and two of Debezium's, under their own class names and with their
// own settings.
//
// There are two functions, [Plugins] and [Predicates], which list what there is. One
// file holds one transform with its settings; to add another, write a file and add
// its line to list.go.
//
//	"transforms": "unwrap,route",
//	"transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
//	"transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
//	"transforms.route.regex": "shop\\.public\\.(.*)",
//	"transforms.route.replacement": "$1"
//
// # How they are made
//
// A transform with the suffix $Key or $Value works on that side of a record (side.go).
// What a schema becomes is worked out once and kept by the schema's pointer
// (plans.go), so that a record costs a copy of its values and nothing more. Records
// without a schema are maps with string keys, and every transform that can treats
// them alike.
//
// Patterns are Java's in the settings; javaregex.go refuses what this program's
// engine lacks or would read in another way, rather than guess. Date patterns are
// those of SimpleDateFormat (internal/javatime).
//
// A transform never writes into what a record points at: it makes a new struct.
// Errors are of connect.ClassRecord, so errors.tolerance decides about them.
package transforms
