package host

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// step is a transform, predicate or converter whose code is in a process, which lasts from
// Configure to Close.
type step struct {
	program *program
	class   line.Class
	log     *slog.Logger
	life    context.Context
	process *process
	unhook  func() bool
}

// lane takes batches of records through one method of the process.
type lane struct {
	encoder  block.Encoder
	decoder  block.Decoder
	verdicts []block.Verdict
}

func newStep(p *program, c line.Class, log *slog.Logger) step {
	return step{program: p, class: c, log: log.With("class", c.Class), life: context.Background()}
}

// Open takes the life of a task, with which the process ends at the latest, and its log.
func (s *step) Open(life context.Context, log *slog.Logger) {
	s.life, s.log = life, log.With("class", s.class.Class)
}

// start starts the process.
func (s *step) start(config connect.Config, key bool) error {
	r, err := s.program.launch(s.life, s.log, s)
	if err != nil {
		return err
	}
	s.process, s.unhook = r, context.AfterFunc(s.life, r.close)
	_, err = r.call(s.life, line.StartStep, line.Pack(line.Start{
		Target: targetOf(s.class), Config: config, Key: key, Debug: s.log.Enabled(s.life, slog.LevelDebug),
	}))
	if err != nil {
		s.end()
	}
	return err
}

// through takes records through a method in one call.
func (l *lane) through(ctx context.Context, s *step, m line.Method, records []*connect.Record) (yes []bool, bad []error, err error) {
	body, err := s.process.call(ctx, m, l.encoder.Records(records))
	if err != nil {
		return nil, nil, err
	}
	l.verdicts, err = l.decoder.Verdicts(body, l.verdicts[:0])
	if err == nil && len(l.verdicts) != len(records) {
		err = fmt.Errorf("of %d records it speaks of %d", len(records), len(l.verdicts))
	}
	if err != nil {
		return nil, nil, s.misunderstood(err)
	}
	yes = make([]bool, len(records))
	for i := range l.verdicts {
		v := &l.verdicts[i]
		yes[i] = v.Yes
		if v.Changed {
			*records[i] = v.Record
		}
		if v.Failure == nil {
			continue
		}
		if bad == nil {
			bad = make([]error, len(records))
		}
		bad[i] = line.UnpackError(v.Failure)
	}
	return yes, bad, nil
}

func (s *step) misunderstood(cause error) error {
	return &connect.Error{Code: "plugin.protocol", Place: s.program.path, Message: "what the plugin has sent cannot be read", Cause: cause}
}

// Validate implements connect.Validator: all of the plugin's checks are made by its
// process.
func (s *step) Validate(ctx context.Context, config connect.Config, values connect.ConfigValues) {
	var a line.Answer
	body, err := s.program.question(ctx, s.log, line.Validate, line.Pack(line.Question{Target: targetOf(s.class), Config: config}))
	if err == nil {
		a, err = line.Unpack[line.Answer](body)
	}
	if err != nil {
		values.AddError("type", err.Error())
		return
	}
	maps.Copy(values, a.Values)
}

// closeLimit is how long a plugin may take to close.
const closeLimit = 5 * time.Second

// Close implements connect.Transform and connect.Converter.
func (s *step) Close() error {
	if s.process == nil {
		return nil
	}
	defer s.end()
	select {
	case <-s.process.ended:
		return nil // The failure was told where it was met.
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	defer context.AfterFunc(ctx, s.process.child.kill)()
	_, err := s.process.call(ctx, line.Stop, nil)
	return err
}

func (s *step) end() {
	s.unhook()
	s.process.close()
}

// Notified implements line.Handler.
func (s *step) Notified(m line.Method, body []byte) {
	if m == line.Log {
		relay(s.log, body)
	}
}

// Called implements line.Handler.
func (s *step) Called(_ context.Context, m line.Method, _ []byte) ([]byte, error) {
	return nil, unserved(m)
}
