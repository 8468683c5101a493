// Package registry is a schema registry for Avro that speaks Confluent's REST
// API, so that any client of that API can use it. It serves the demo and the
// development mode; a production system has a registry of its own.
//
// Unlike a stand-in for tests it does the registry's real work: a schema that
// breaks the subject's compatibility level is refused, with a message that
// names the field. One schema text has one id, whatever subjects it stands
// in, and registering it again gives the same id and version.
//
// There are only a few types. [Server] is the registry: New makes it, its
// Handler answers HTTP. A [Store] keeps what must survive: [Memory] forgets
// it with the process, [OpenFile] appends it to a file with checksums and
// waits for the disk.
//
//	store, err := registry.OpenFile("data/schemas.log")
//	if err != nil {
//		return err
//	}
//	server, err := registry.New(registry.Options{Store: store})
//	if err != nil {
//		return err
//	}
//	return http.Serve(listener, server.Handler())
//
// Endpoints, error codes and compatibility levels are those of
// https://docs.confluent.io/platform/current/schema-registry/develop/api.html;
// the rules of compatibility are the Avro specification's schema resolution.
// Left out are Protobuf and JSON Schema, contexts, data contract rules and
// the exporters; a request for another schema type is refused.
package registry
