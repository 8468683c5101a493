package bankstorm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/oracle"
)

// Episode is what came of a fault that loses data by its nature: what the connector said,
// and what was asked of it then.
type Episode struct {
	Class string `json:"class"`
	// Codes are those that it failed with, in their order.
	Codes []string `json:"codes"`
	// From and To bound the log that it said it could not send; empty when it could.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Remedies are those that were asked for.
	Remedies []string `json:"remedies,omitempty"`
	Failed   float64  `json:"failed_after_s"`    // From the end of the fault.
	Whole    float64  `json:"recovered_after_s"` // From the remedy.
}

// What an error says to those who have to mend it.
var (
	saidCode   = regexp.MustCompile(`\b(pg\.[a-z_.]*[a-z_])\b`)
	saidRange  = regexp.MustCompile(`the log from ([0-9A-F]+/[0-9A-F]+) to ([0-9A-F]+/[0-9A-F]+)`)
	saidRemedy = regexp.MustCompile(`/remedies/([a-z-]+)`)
)

// remedyAccept goes on behind the gap; what is in it has to be read by a signal then.
const remedyAccept = "accept-gap"

// loud follows a fault that loses data: the connector has to fail and say what it cannot
// send, it is asked for what it names as a remedy, and then all must go on.
func (r *run) loud(ctx context.Context, f chaos.Fault, healed time.Time) {
	e := Episode{Class: f.Class}
	if err := r.mend(ctx, f, &e, healed); err != nil {
		if ctx.Err() != nil {
			return
		}
		status, _ := r.world.Status(ctx, chaos.Connector)
		r.journal.Found(chaos.AnomalyStuck, "after %s: %v; the connector is %s", f, err, status)
		r.world.Dump(ctx)
		return
	}
	if e.To == "" && !(f.Class == "pg.promote" && r.world.CopiesSlots()) {
		r.journal.Found(chaos.AnomalyLoud, "after %s the connector went on, and never said what is missing; it failed with %v", f, e.Codes)
	}
	r.result.Loud = append(r.result.Loud, e)
	r.journal.Say("recovered", "from %s by %v, %.1f s after that", f.Class, e.Remedies, e.Whole)
}

// mostAnswers bounds how often a connector fails after one fault.
const mostAnswers = 6

// mend asks for remedies until a change made after the newest has come to Kafka.
func (r *run) mend(ctx context.Context, f chaos.Fault, e *Episode, since time.Time) error {
	if at := r.world.Fork(); at != r.fork {
		r.fork = at
		r.monitor.Forget(ctx, at)
	}
	for range mostAnswers {
		began := since
		trace, err := r.outcome(ctx, since)
		if err != nil {
			return err
		}
		if trace == "" {
			e.Whole = time.Since(began).Seconds()
			return r.shut(ctx, e)
		}
		if e.Codes == nil {
			e.Failed = time.Since(began).Seconds()
		}
		r.journal.Say("loud", "%s", trace)
		if err := r.answer(ctx, f, e, trace); err != nil {
			return err
		}
		since = time.Now()
	}
	return fmt.Errorf("the connector failed %d times, with %v", mostAnswers, e.Codes)
}

// outcome waits until the connector has failed, and returns what it says, or until a
// change made after since has come to Kafka, which is "".
func (r *run) outcome(ctx context.Context, since time.Time) (trace string, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Patience)
	defer cancel()
	for {
		if r.monitor.Seen(since) {
			return "", nil
		}
		status, err := r.world.Status(ctx, chaos.Connector)
		if trace := status.Failed(); err == nil && trace != "" {
			return trace, nil
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return "", fmt.Errorf("neither has the connector failed nor has a change made since come to Kafka in %v", time.Since(since).Round(time.Millisecond))
		}
	}
}

// answer does what the error of a connector that has failed names.
func (r *run) answer(ctx context.Context, f chaos.Fault, e *Episode, trace string) error {
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	code := saidCode.FindString(trace)
	e.Codes = append(e.Codes, code)
	if !slices.Contains(f.Codes(), code) {
		r.journal.Found(chaos.AnomalyLoud, "after %s the connector failed with %q, which is none of %v: %s", f, code, f.Codes(), trace)
	}
	if err := r.persist(ctx, r.world.MendPublication); err != nil {
		return err
	}
	var remedies []string
	for _, m := range saidRemedy.FindAllStringSubmatch(trace, -1) {
		remedies = append(remedies, m[1])
	}
	if len(remedies) == 0 {
		if !strings.Contains(trace, "restart") && !strings.Contains(trace, "CREATE PUBLICATION") {
			r.journal.Found(chaos.AnomalyLoud, "after %s the error names nothing that mends it: %s", f, trace)
		}
		e.Remedies = append(e.Remedies, "restart")
		return r.persist(ctx, func(ctx context.Context) error {
			return r.world.Call(ctx, "POST", "/connectors/"+chaos.Connector+"/tasks/0/restart", nil, nil)
		})
	}
	const unrelated = 16 // Lower digits of Pick decide what the fault does.
	remedy := remedies[f.Pick/unrelated%uint64(len(remedies))]
	e.Remedies = append(e.Remedies, remedy)
	return r.remedy(ctx, f, e, trace, remedy)
}

// remedy notes the gap that the error tells of and asks for a remedy.
func (r *run) remedy(ctx context.Context, f chaos.Fault, e *Episode, trace, name string) error {
	said := saidRange.FindStringSubmatch(trace)
	if said == nil {
		r.journal.Found(chaos.AnomalyLoud, "after %s the error does not say what part of the log it concerns: %s", f, trace)
		return errors.New("what is missing is not known")
	}
	e.From, e.To = said[1], said[2]
	g := oracle.Gap{From: lsnOf(said[1]), To: lsnOf(said[2])}
	if f.Class == "pg.promote" {
		g.Fork = r.fork
	}
	r.monitor.Pause()
	if err := r.oracle.Open(ctx, g); err != nil {
		return err
	}
	var done struct{ Message string }
	err := r.persist(ctx, func(ctx context.Context) error {
		return r.world.Call(ctx, "POST", "/connectors/"+chaos.Connector+"/remedies/"+name, nil, &done)
	})
	r.journal.Say("remedy", "%s: %s", name, done.Message)
	return err
}

// lsnOf reads a position as PostgreSQL writes it.
func lsnOf(text string) (lsn uint64) {
	high, low, _ := strings.Cut(text, "/")
	for _, part := range []string{high, low} {
		n, _ := strconv.ParseUint(part, 16, 32) // The text is of this form.
		lsn = lsn<<32 | n
	}
	return lsn
}

// shut ends an episode: it waits until what was lost has been read from the tables, and
// the log goes on behind that.
func (r *run) shut(ctx context.Context, e *Episode) error {
	if e.To == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	to := uint64(0)
	if e.Remedies[len(e.Remedies)-1] == remedyAccept {
		var err error
		if to, err = r.backfill(ctx, e); err != nil {
			return err
		}
	}
	// The first change that is seen may have been read from its table, the second comes
	// behind the last row.
	if _, err := r.monitor.Recovered(ctx, time.Now()); err != nil {
		return err
	}
	if err := r.oracle.Shut(ctx, to); err != nil {
		return err
	}
	r.monitor.Resume()
	return nil
}

// backfill ends the gap where the connector says that it does, and has all tables read
// by a signal. It returns where the gap ends.
func (r *run) backfill(ctx context.Context, e *Episode) (to uint64, err error) {
	if e.From, to, err = r.accepted(ctx); err != nil {
		return 0, err
	}
	if err := r.oracle.Shut(ctx, to); err != nil {
		return 0, err
	}
	e.To = fmt.Sprintf("%X/%X", to>>32, uint32(to))
	signal := map[string]any{"id": "backfill-" + e.To, "type": "execute-snapshot", "data": map[string]any{"type": "blocking", "data-collections": []string{".*"}}}
	err = r.persist(ctx, func(ctx context.Context) error {
		return r.world.Call(ctx, "POST", "/connectors/"+chaos.Connector+"/signals", signal, nil)
	})
	for err == nil && !r.oracle.Reread() {
		if !sleep(ctx, 20*time.Millisecond) {
			err = fmt.Errorf("the tables were not read anew: %w", context.Cause(ctx))
		}
	}
	return to, err
}

// accepted returns the gap that the stored offset tells of.
func (r *run) accepted(ctx context.Context) (from string, to uint64, err error) {
	var stored struct {
		Offsets []struct {
			Offset struct {
				From *uint64 `json:"gap_from"`
				To   *uint64 `json:"gap_to"`
			}
		}
	}
	if err := r.world.Call(ctx, "GET", "/connectors/"+chaos.Connector+"/offsets", nil, &stored); err != nil {
		return "", 0, err
	}
	for _, o := range stored.Offsets {
		if o.Offset.From != nil && o.Offset.To != nil {
			return fmt.Sprintf("%X/%X", *o.Offset.From>>32, uint32(*o.Offset.From)), *o.Offset.To, nil
		}
	}
	text, _ := json.Marshal(stored)
	return "", 0, fmt.Errorf("the stored offset does not tell of the gap that was accepted: %s", text)
}

// persist does something until it succeeds: the server and the worker may be on their way
// back.
func (r *run) persist(ctx context.Context, do func(context.Context) error) error {
	for {
		err := do(ctx)
		if err == nil || !sleep(ctx, 100*time.Millisecond) {
			return err
		}
	}
}
