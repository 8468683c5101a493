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

// step is a transform or predicate whose code is in a process, which lasts from Configure
// to Close.
type step struct {
	program  *program
	class    line.Class
	log      *slog.Logger
	life     context.Context
	process  *process
	unhook   func() bool
	encoder  block.Encoder
	decoder  block.Decoder
	verdicts []block.Verdict
}

// transform and predicate are the two kinds.
type (
	transform struct{ step }
	predicate struct{ step }
)

func newStep(p *program, c line.Class, log *slog.Logger) step {
	return step{program: p, class: c, log: log.With("class", c.Class), life: context.Background()}
}

// Open takes the life of a task, with which the process ends at the latest, and its log.
func (s *step) Open(life context.Context, log *slog.Logger) {
	s.life, s.log = life, log.With("class", s.class.Class)
}

// Configure implements connect.Transform and connect.Predicate.
func (s *step) Configure(settings connect.Settings) error {
	r, err := s.program.launch(s.life, s.log, s)
	if err != nil {
		return err
	}
	s.process, s.unhook = r, context.AfterFunc(s.life, r.close)
	_, err = r.call(s.life, line.StartStep, line.Pack(line.Start{
		Target: targetOf(s.class), Config: settings.Config(), Debug: s.log.Enabled(s.life, slog.LevelDebug),
	}))
	if err != nil {
		s.end()
	}
	return err
}

// ApplyAll takes records through the process in one call: see worker.Options.External.
func (s *step) ApplyAll(ctx context.Context, records []*connect.Record) (yes []bool, bad []error, err error) {
	body, err := s.process.call(ctx, line.Apply, s.encoder.Records(records))
	if err != nil {
		return nil, nil, err
	}
	s.verdicts, err = s.decoder.Verdicts(body, s.verdicts[:0])
	if err == nil && len(s.verdicts) != len(records) {
		err = fmt.Errorf("of %d records it speaks of %d", len(records), len(s.verdicts))
	}
	if err != nil {
		return nil, nil, &connect.Error{Code: "plugin.protocol", Place: s.program.path, Message: "what the plugin has sent cannot be read", Cause: err}
	}
	yes = make([]bool, len(records))
	for i := range s.verdicts {
		v := &s.verdicts[i]
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

func (s *step) applyOne(r *connect.Record) (bool, error) {
	yes, bad, err := s.ApplyAll(s.life, []*connect.Record{r})
	if err == nil && bad != nil {
		err = bad[0]
	}
	return err == nil && yes[0], err
}

// Apply implements connect.Transform.
func (t *transform) Apply(r *connect.Record) (bool, error) { return t.applyOne(r) }

// Test implements connect.Predicate. It has no error; a worker asks by ApplyAll, which has.
func (p *predicate) Test(r *connect.Record) bool {
	yes, err := p.applyOne(r)
	if err != nil {
		p.log.Error("the predicate cannot be asked", "error", err)
	}
	return yes
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

// closeLimit is how long a transform may take to close.
const closeLimit = 5 * time.Second

// Close implements connect.Transform.
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
