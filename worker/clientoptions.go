package worker

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// ClientOptions returns the options by which a worker with these settings reaches
// its brokers (bootstrap.servers, security, timeouts), for what runs beside it. The
// error lists all faults.
func ClientOptions(raw connect.Config) ([]kgo.Opt, error) {
	return clientOptions(workerProps(raw), adminClient)
}
