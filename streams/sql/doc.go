// Package sql understands ksqlDB's language and turns it into topologies of
// package streams and into answers.
//
// A statement travels through few hands, each in its own file. The lexer
// (token.go) and the parser (parser.go and its parse_ neighbours) make a
// Statement, a tree that remembers where each of its parts stood in the text and
// that prints itself back as SQL. The catalog (catalog.go) knows the streams,
// tables and types declared so far. The analyser (analyze.go, scope.go) resolves
// names and types and makes a plan; expr.go turns expressions into closures over a
// row; build.go makes a topology of package streams of a plan, with the codecs of
// format.go and envelope.go at its ends and the workers of worker.go between.
//
// Engine (engine.go) is the front: Execute (execute.go) executes statements, Query
// (query.go) answers pull queries from the stores of persistent queries (pull.go)
// and runs push queries in its own process (push.go). A statement that changes the
// catalog is prepared, appended to a Log (command.go), and only then made true, so
// that a restarted process replays the log and stands where the old one stood.
//
// Faults of the text are values of type *Error: a stable code, line and column,
// the line itself with a caret, what was expected, and a near name when the
// writer seems to have mistyped one.
//
//	stmts, err := sql.Parse("SELECT id, COUNT(*) FROM orders GROUP BY id EMIT CHANGES;")
//	if err != nil {
//		var fault *sql.Error
//		if errors.As(err, &fault) {
//			fmt.Println(fault.Detail())
//		}
//	}
package sql
