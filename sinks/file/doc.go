// Package file writes records to a file or to standard output, one line for each
// record. It stands in for Kafka's FileStreamSinkConnector and is what one uses to
// see what a topic holds.
//
// There is one type, [Options], with which the worker's owner says where files may
// be written; [Plugin] makes of it the entry for the list of plugins:
//
//	plugins.Sinks = append(plugins.Sinks, file.Plugin(file.Options{Dirs: []string{"/var/lib/tidemill/out"}}))
//
// Lines are appended in batches, each with one write, so that several tasks may
// share a file. Before offsets are committed the file is synced to the disk: a line
// is lost only with the disk, and after a crash the last lines may be there twice.
//
// A connector's configuration may come from anyone who reaches the REST interface.
// That is why the directories are no setting of the connector: files are opened
// below a directory that was allowed, by means that no "..", no absolute path and
// no symbolic link leads out of.
package file
