// Package plugin makes a program of sources, sinks, transforms, predicates and converters
// that a worker runs as processes of their own. The program is its list of plugins:
//
//	func main() {
//		plugin.Serve(connect.Plugins{Sources: []connect.Plugin[connect.SourceConnector]{ticker.Plugin()}})
//	}
//
// Put into a directory that the worker's setting plugin.path names, it is found while the
// worker runs. Each connector, each task, and each transform, predicate and converter of a
// task then has a process of its own: one that panics, leaks or is killed takes nothing with
// it, and the worker starts the task again. Any number of versions of a class may stand side
// by side in different files; the settings connector.plugin.version,
// transforms.<alias>.plugin.version and value.converter.plugin.version choose.
// docs/plugins.md tells the whole.
//
// What package connect promises holds here too, method by method: contexts, errors with
// their codes and classes, stored offsets, secrets read anew, signals, dead letters,
// pausing and seeking a consumer, metrics, logs, exactly-once delivery and its transaction
// boundaries. The same suites (connect/connecttest) check it. Transforms and converters are
// written for one record, and the worker gives the process the records of a batch at once; a
// panic over one of them is that record's error.
//
// Two things do not pass from one process to another, and are refused by name when the
// worker looks at the file: header converters, and source tasks that are a
// [connect.RecordCommitter]. And a table of settings that is open to others than it
// declares ([connect.ConfigDef.OpenTo]) takes any in the worker's eyes, so that the plugin
// itself must look at them.
package plugin
