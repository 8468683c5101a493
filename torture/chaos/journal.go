package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// The names of anomalies. Those of the oracle, which reads the topics, come beside them.
const (
	AnomalyEarlyAck    = "early_ack"   // PostgreSQL was told to forget what is not safe yet.
	AnomalyStuck       = "stuck"       // No recovery in the time there is.
	AnomalyLeak        = "leak"        // Memory, goroutines or files that are not given back.
	AnomalySecret      = "secret_leak" // A secret in a log or in an answer.
	AnomalyPanic       = "panic"       // A crash of a process that nobody meant.
	AnomalyNew         = "emitted_anew"
	AnomalyLoud        = "silent_gap"   // Something was lost, or would be, and nobody was told.
	AnomalyDiffers     = "value_diff"   // A copy is not what the source is.
	AnomalyMemory      = "memory"       // The worker takes more memory than it may.
	AnomalySlow        = "slow"         // Recovery takes longer than it may.
	AnomalyStreamStuck = "stream_stuck" // A process of a streams application does not go on, or does not end.
	AnomalyHarness     = "harness"      // A fault could not be done: nothing was shown.
)

// Anomaly is something that must not happen.
type Anomaly struct {
	Name string  `json:"name"`
	Text string  `json:"text"`
	At   float64 `json:"at_s"` // Seconds since the beginning.
}

// Entry is something that happened.
type Entry struct {
	At    float64 `json:"at_s"`
	Kind  string  `json:"kind"`
	Text  string  `json:"text"`
	Fault *Fault  `json:"fault,omitempty"`
}

// Journal keeps what happened, in order. Its methods may be called by any goroutine.
type Journal struct {
	began time.Time
	seen  func(Entry)

	mu        sync.Mutex // guards the following
	out       *json.Encoder
	anomalies []Anomaly
}

// NewJournal writes entries to out as lines of JSON and tells seen of each; seen may be
// nil.
func NewJournal(out io.Writer, seen func(Entry)) *Journal {
	if seen == nil {
		seen = func(Entry) {}
	}
	return &Journal{began: time.Now(), seen: seen, out: json.NewEncoder(out)}
}

// Say enters what happened.
func (j *Journal) Say(kind, format string, args ...any) {
	j.enter(Entry{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

func (j *Journal) enter(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.At = j.since()
	_ = j.out.Encode(e) // The journal is for people; a full disk shows elsewhere.
	j.seen(e)
}

// since returns the seconds since the beginning, to the millisecond.
func (j *Journal) since() float64 { return float64(time.Since(j.began).Milliseconds()) / 1000 }

// maxOfKind bounds how many anomalies of one name are kept; all are counted as they come.
const maxOfKind = 20

// Found enters an anomaly.
func (j *Journal) Found(name, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	j.mu.Lock()
	n := 0
	for _, a := range j.anomalies {
		if a.Name == name {
			n++
		}
	}
	if n < maxOfKind {
		j.anomalies = append(j.anomalies, Anomaly{Name: name, Text: text, At: j.since()})
	}
	j.mu.Unlock()
	if n < maxOfKind {
		j.Say("ANOMALY", "%s: %s", name, text)
	}
}

// Anomalies returns what was found, at most twenty of each name.
func (j *Journal) Anomalies() []Anomaly {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]Anomaly(nil), j.anomalies...)
}
