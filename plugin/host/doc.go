// Package host is the worker's side of external plugins: it finds them, and makes what
// runs in their processes look like any other connector, transform or converter.
//
// A [Host] looks into the directories of plugin.path. An executable there is asked once
// what it holds, and again when it has changed; every class and version it names becomes
// an entry of [Host.Plugins]. No setting of a connector ever names a file: it only chooses
// among these entries.
//
// A file is believed when it is a regular file, directly in one of the directories, and
// neither it nor the directory could have been written by anybody but root and the
// worker's own user; what is refused is logged with the code "plugin.untrusted", and each
// file that is taken with its checksum. Before a process is started, the file must be the
// one that was asked.
//
// Each connector and each task has a process of its own, started with its Start and killed
// with its Stop, and so has each transform, predicate and converter of a task, from its
// Configure to its Close. It has its configuration, and of the worker's environment no more
// than where to find time zones, languages and certificates. When it ends by itself, what
// was asked of it fails with the code "plugin.ended", which a worker takes for a failure
// that may pass: it starts the task again, after a wait. On Linux the kernel kills it with
// the worker; elsewhere it ends when its connection does.
package host
