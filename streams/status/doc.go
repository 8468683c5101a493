// Package status tells how streams applications are doing: their state, tasks with the lag of
// each partition, restorations with how long they will take, stores with their sizes, copies
// of stores that run elsewhere. [Handler] answers with it over HTTP, in JSON, and lets
// applications be paused and resumed:
//
//	GET /streams/v1/applications                    all, in short
//	GET /streams/v1/applications/{id}               one, whole
//	GET /streams/v1/applications/{id}/topology      as text; ?format=dot for Graphviz
//	PUT /streams/v1/applications/{id}/pause         stops taking in records, after a commit
//	PUT /streams/v1/applications/{id}/resume        goes on, also after a failure
//
// An Engine with Config.Remote serves it where other instances ask it for rows, at a
// loopback address unless it is told otherwise, and with the same signatures; a worker
// serves it with its REST interface. Each process tells of itself alone.
package status
