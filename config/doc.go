// Package config reads settings: a worker's own and those of connectors. It knows
// nobody's settings, only how they are written, where they come from, how secrets
// stand in them and how they are hidden again. What a setting means is said by the
// [connect.ConfigDef] of the room that owns it.
//
// # Worker settings
//
// [Load] merges three sources. A flag wins over the environment, the environment
// over the file:
//
//	loaded, err := config.Load(config.Sources{
//		File:    "connect-distributed.properties", // or .json, .yaml
//		Environ: os.Environ(),                     // CONNECT_GROUP_ID, TIDEMILL_GROUP_ID → group.id
//		Flags:   map[string]string{"group.id": "cdc"},
//	})
//
// Every value keeps its [Origin], so that a person can be told where it comes from.
//
// # Connector settings
//
// [LoadConnectors] and [ParseConnectors] read connector files: a JSON object of
// settings, a request {"name", "config", "initial_state"}, an array of either, the
// same as YAML, or a .properties file. [ParseMap] reads the flat object that REST
// takes. Numbers and booleans become the text they were written as.
//
// # Secrets
//
// A setting may hold a reference instead of a secret: ${env:VAR},
// ${file:/path:key}, ${dir:/path:file}. References are what is stored and shown; a
// [Resolver] replaces them as late as possible, and tells its [Redactor] what it
// read, so that the values can be taken out of any text. [Mask] hides the secrets
// of a configuration that is shown, and [Unmask] understands the hidden form when it
// comes back.
package config
