package worker

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// restartPolicy says when a failed connector or task is started again.
type restartPolicy struct {
	enabled bool
	delay   time.Duration
	longest time.Duration
	most    int // Negative: without end.
}

// restartClears is how long a run must have lasted for former failures not to count.
const restartClears = time.Hour

// restartCalms is how many times as long as the wait before it a run must have lasted for
// the next wait to be the first one again: what fails now and then is back soon each time.
const restartCalms = 10

// failures counts those of a task.
type failures struct {
	all    int           // None for an hour clears it.
	row    int           // Those of them that came soon after each other.
	waited time.Duration // Before the newest run.
}

// after takes in how long a run has lasted that has failed now, 0 for one that never came
// to work.
func (f *failures) after(lasted time.Duration) {
	if lasted > restartClears {
		f.all = 0
	}
	if lasted > restartCalms*f.waited {
		f.row = 0
	}
}

// again takes in that the task starts again after a wait.
func (f *failures) again(wait time.Duration) {
	f.all, f.row, f.waited = f.all+1, f.row+1, wait
}

// newRestartPolicy reads the worker's settings and the connector's over them.
func newRestartPolicy(worker connect.Settings, config connect.Config) restartPolicy {
	own, _ := connect.NewConfigDef(restartKeys()...).OpenTo(func(string) bool { return true }).Parse(config)
	pick := worker
	choose := func(name string) connect.Settings {
		if own.Given(name) {
			return own
		}
		return pick
	}
	return restartPolicy{
		enabled: !strings.EqualFold(choose("errors.restart.policy").String("errors.restart.policy"), "never"),
		delay:   choose("errors.restart.delay.ms").Duration("errors.restart.delay.ms"),
		longest: choose("errors.restart.delay.max.ms").Duration("errors.restart.delay.max.ms"),
		most:    choose("errors.restart.max").Int("errors.restart.max"),
	}
}

// next returns the wait before the next restart, and whether there is one after such an
// error, when there were failures before.
func (p restartPolicy) next(err error, before failures) (time.Duration, bool) {
	e := connect.AsError(err)
	if !p.enabled || e.Class != connect.ClassRetriable || p.most >= 0 && before.all >= p.most {
		return 0, false
	}
	wait := min(p.delay<<min(before.row, 20), p.longest)
	// Up to a fifth more or less, so that what failed together does not start together.
	wait += time.Duration(rand.Int64N(int64(wait)/5*2+1)) - wait/5
	return max(wait, e.After), true
}
