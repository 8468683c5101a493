// Package rest is the counter: it answers over HTTP what the worker knows and does,
// in the words of Kafka Connect's REST interface, so that its clients (kcctl, the
// usual consoles, Terraform, Strimzi) work unchanged.
//
// # The few types
//
// [New] makes a [Server] from [Options]; Run serves until its context is done, and
// Handler is the same without a socket. A [Herder] does the work (*worker.Herder is
// one); the package only reads requests and writes answers. [Loggers] are the log
// levels that can be changed at run time, [Logs] the newest lines of connectors. Settings are declared in [ConfigDef].
//
// routes.go lists every route; a new one is a line there and a function in the file
// of its resource.
//
// # Errors
//
// Every error is {"error_code":status,"message":text}; the message ends with what
// puts it right. Kafka Connect answers 500 to malformed JSON and to unknown connector
// classes; so does this server, unless rest.compat.errors=strict asks for 400.
//
// # Secrets
//
// What is read of a configuration has its secrets masked as ********, references such
// as ${env:VAR} are shown. A masked value that is written back means "unchanged". With
// rest.mask.secrets=false configurations are shown as they were written.
//
// # Who may ask
//
// Without settings the server listens on 127.0.0.1:8083 only; where other machines can
// reach it, it has to ask them who they are (package rest/auth), or be told that it need
// not. Each route names the role it needs in routes.go, for one connector or for all. What
// is sent on to another worker carries who sent it (vouch.go). Requests that a browser
// sends on behalf of another site are refused, and on a loopback listener so are requests
// for a foreign host name. What changes something is told to the audit log (audit.go).
//
// # An example
//
//	settings, err := rest.ConfigDef().Parse(raw)
//	if err != nil {
//		return err
//	}
//	server, err := rest.New(rest.Options{Settings: settings, Herder: w.Herder(), Log: log})
//	if err != nil {
//		return err
//	}
//	return server.Run(ctx)
package rest
