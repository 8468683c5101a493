package host

import (
	"context"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// judge is what transforms and predicates have in common.
type judge struct {
	step
	lane lane
}

// transform and predicate are the two kinds.
type (
	transform struct{ judge }
	predicate struct{ judge }
)

// Configure implements connect.Transform and connect.Predicate.
func (j *judge) Configure(settings connect.Settings) error {
	return j.start(settings.Config(), false)
}

// ApplyAll takes records through the process in one call: see worker.Options.External.
func (j *judge) ApplyAll(ctx context.Context, records []*connect.Record) (yes []bool, bad []error, err error) {
	return j.lane.through(ctx, &j.step, line.Apply, records)
}

func (j *judge) applyOne(r *connect.Record) (bool, error) {
	yes, bad, err := j.ApplyAll(j.life, []*connect.Record{r})
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
