package worker

// group is a worker's membership in the cluster named by group.id. It knows who the
// members are and what each of them runs. This one has a single member: itself.
type group struct {
	self     string
	previous map[string]share
}

func newGroup(workerID string) *group { return &group{self: workerID} }

// mine returns this worker's share of the connectors, given with their numbers of
// tasks.
func (g *group) mine(connectors map[string]int) share {
	g.previous = assign([]string{g.self}, connectors, g.previous)
	return g.previous[g.self]
}
