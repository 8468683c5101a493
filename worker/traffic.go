package worker

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/meter"
)

// traffic is what the worker's clients of one kind exchange with the brokers. Requests are
// counted, not records. It implements the client's hooks.
type traffic struct {
	connections, made, refused, in, out, requests, answers atomic.Int64

	making, reading, writing meter.Window // Ones; bytes.
	busy                     meter.Window // Seconds.
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (t *traffic) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, conn net.Conn, err error) {
	if conn != nil {
		t.connections.Add(1) // Its end is told of even if it was of no use.
	}
	if err != nil {
		if errors.Is(err, kerr.SaslAuthenticationFailed) {
			t.refused.Add(1)
		}
		return
	}
	t.made.Add(1)
	t.making.Add(1)
}

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect.
func (t *traffic) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { t.connections.Add(-1) }

// OnBrokerE2E implements kgo.HookBrokerE2E: it tells of a request with its answer.
func (t *traffic) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e kgo.BrokerE2E) {
	t.busy.Add((e.TimeToWrite + e.TimeToRead).Seconds())
	if e.WriteErr == nil {
		t.requests.Add(1)
		t.out.Add(int64(e.BytesWritten))
		t.writing.Add(float64(e.BytesWritten))
	}
	if e.Err() == nil {
		t.answers.Add(1)
		t.in.Add(int64(e.BytesRead))
		t.reading.Add(float64(e.BytesRead))
	}
}
