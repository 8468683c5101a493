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

// next returns the wait before the given restart (from 0), and whether there is one
// after such an error.
func (p restartPolicy) next(err error, restart int) (time.Duration, bool) {
	e := connect.AsError(err)
	if !p.enabled || e.Class != connect.ClassRetriable || p.most >= 0 && restart >= p.most {
		return 0, false
	}
	wait := min(p.delay<<min(restart, 20), p.longest)
	// Up to a fifth more or less, so that what failed together does not start together.
	wait += time.Duration(rand.Int64N(int64(wait)/5*2+1)) - wait/5
	return max(wait, e.After), true
}
