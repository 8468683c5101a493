package worker

import "github.com/tidemill/tidemill/connect"

// ConfigDef returns the table of a worker's settings: those of
// connect-distributed.properties and of standalone workers.
func ConfigDef() *connect.ConfigDef {
	return connect.NewConfigDef().OpenTo(func(string) bool { return true })
}
