package worker

import (
	"slices"
	"sync"
)

// strays are the tasks that did not stop in time and were abandoned, as long as they still
// run. Go cannot end them; they hold what they hold, and somebody should know.
type strays struct {
	mu   sync.Mutex // Guards what follows.
	runs map[string][]*taskRun
}

// add takes note of an abandoned task.
func (s *strays) add(r *taskRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		s.runs = map[string][]*taskRun{}
	}
	s.runs[r.id.Connector] = append(s.runs[r.id.Connector], r)
}

// of counts those of a task that still run.
func (s *strays) of(id TaskID) int {
	return s.count(id.Connector, func(r *taskRun) bool { return r.id == id })
}

// ofConnector counts those of all tasks of a connector.
func (s *strays) ofConnector(name string) int {
	return s.count(name, func(*taskRun) bool { return true })
}

func (s *strays) count(name string, counts func(*taskRun) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := slices.DeleteFunc(s.runs[name], (*taskRun).ended)
	if len(left) == 0 {
		delete(s.runs, name)
		return 0
	}
	s.runs[name] = left
	for _, r := range left {
		if counts(r) {
			n++
		}
	}
	return n
}

// ended tells whether nothing of the task runs any more.
func (r *taskRun) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// abandon gives a task up. What it says from now on does not count, and its context is
// over: what it still writes to Kafka is refused.
func (r *taskRun) abandon() {
	r.abandoned.Store(true)
	r.kill()
	r.rt.strays.add(r)
	r.tellStrays()
}

// tellStrays puts how many abandoned tasks there are into the states of the task and of its
// connector, as far as this worker has the word about them.
func (r *taskRun) tellStrays() {
	r.rt.statuses.putStrays(r.id, r.rt.strays.of(r.id), r.rt.strays.ofConnector(r.id.Connector))
}
