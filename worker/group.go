package worker

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker/fleet"
)

// group is a worker's place among the workers of group.id. A standalone worker has no
// member, and runs everything.
type group struct {
	member *fleet.Member
	client *kgo.Client
}

// share is what one worker of a group runs: some connectors, and some tasks, not
// necessarily of those connectors.
type share struct {
	all               bool // Everything there is.
	work              map[fleet.Work]bool
	names             map[string]bool // Of the connectors it has anything of.
	connectors, tasks int
}

func newShare(work []fleet.Work) share {
	s := share{work: map[fleet.Work]bool{}, names: map[string]bool{}}
	for _, w := range work {
		s.work[w], s.names[w.Connector] = true, true
		if w.Task == fleet.Itself {
			s.connectors++
		} else {
			s.tasks++
		}
	}
	return s
}

// differs returns the connectors of which another share holds something else.
func (s share) differs(other share) map[string]bool {
	names := map[string]bool{}
	for w := range s.work {
		if !other.work[w] {
			names[w.Connector] = true
		}
	}
	for w := range other.work {
		if !s.work[w] {
			names[w.Connector] = true
		}
	}
	return names
}

// has tells whether the share holds a task, owns whether it holds a connector itself, and
// touches whether it holds anything of a connector.
func (s share) has(id TaskID) bool { return s.all || s.work[taskWork(id)] }
func (s share) owns(name string) bool {
	return s.all || s.work[fleet.Work{Connector: name, Task: fleet.Itself}]
}
func (s share) touches(name string) bool   { return s.all || s.names[name] }
func taskWork(id TaskID) fleet.Work        { return fleet.Work{Connector: id.Connector, Task: int32(id.Task)} }
func connectorWork(name string) fleet.Work { return fleet.Work{Connector: name, Task: fleet.Itself} }

// workerOf returns the id of the worker that a URL of the group belongs to.
func workerOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// advertised returns the URL by which other workers reach this one's REST interface.
func advertised(s connect.Settings, id string) string {
	scheme := strings.ToLower(s.String("rest.advertised.listener"))
	for _, listener := range s.List("listeners") {
		if found, _, ok := strings.Cut(strings.TrimSpace(listener), "://"); ok {
			scheme = cmp.Or(scheme, strings.ToLower(found))
		}
	}
	return cmp.Or(scheme, "http") + "://" + id + "/"
}

var notInInstance = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// instanceOf is the name of a worker's place in its group (KIP-345): its id, and that of
// the machine besides if the id is the same on every machine.
func instanceOf(id string) string {
	host, _, _ := net.SplitHostPort(id)
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		if machine, err := os.Hostname(); err == nil {
			id = machine + "-" + id
		}
	}
	return notInInstance.ReplaceAllString(id, "-")
}

// openGroup makes the worker a member of its group, which it joins when the member runs.
func (w *Worker) openGroup() error {
	s := w.options.Config
	opts, err := w.rt.client(adminClient, workerProps(w.rt.raw), w.rt.log)
	if err != nil {
		return err
	}
	session := s.Duration("session.timeout.ms")
	client, err := kgo.NewClient(append(opts, kgo.RequestTimeoutOverhead(fleet.Unheard(session)))...)
	if err != nil {
		return err
	}
	id := w.rt.statuses.workerID
	member := fleet.NewMember(fleet.Config{
		Client: client, Group: w.rt.groupID, URL: advertised(s, id), Instance: cmp.Or(s.String("group.instance.id"), instanceOf(id)),
		Protocol: s.String("connect.protocol"), Session: session, Heartbeat: s.Duration("heartbeat.interval.ms"),
		Rebalance: s.Duration("rebalance.timeout.ms"), MaxDelay: s.Duration("scheduled.rebalance.max.delay.ms"),
		Sync: s.Duration("worker.sync.timeout.ms"), Unsync: s.Duration("worker.unsync.backoff.ms"),
		Host: groupHost{w.herder}, Log: w.rt.log,
	})
	w.herder.mu.Lock()
	defer w.herder.mu.Unlock()
	w.herder.group = group{member: member, client: client}
	w.rt.confirm, w.rt.statuses.freed = member.Confirm, member.Hurry
	w.rt.metrics.dividing = member.Joining
	if w.rt.http = w.options.Peers; w.rt.http == nil {
		w.rt.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	}
	return nil
}

// runGroup takes part in the group until ctx ends. The error says what is to be done.
func (w *Worker) runGroup(ctx context.Context) error {
	err := w.herder.group.member.Run(ctx)
	if errors.Is(err, fleet.ErrReplaced) {
		id := w.rt.statuses.workerID
		return &connect.Error{
			Code: "worker.replaced", Class: connect.ClassFatal, Place: "group.id=" + w.rt.groupID,
			Message: "another worker with this one's id " + id + " has taken its place in the group",
			Mend:    "if both are to run, give each its own rest.advertised.host.name and rest.advertised.port, or its own listeners; otherwise stop one of them",
		}
	}
	if other, ok := errors.AsType[*fleet.Unwelcome](err); ok {
		return unwelcome(other, w.rt.groupID)
	}
	if err != nil {
		return &connect.Error{
			Code: "worker.group", Class: connect.ClassFatal, Place: "group.id=" + w.rt.groupID, Message: "the worker cannot take part in its group", Cause: err,
			Mend: "see that no group of consumers has this name, that the worker may read the group, and that session.timeout.ms is within the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms",
		}
	}
	return nil
}

// unwelcome says what to do about another member of the group.
func unwelcome(other *fleet.Unwelcome, group string) error {
	e := &connect.Error{
		Code: "worker.address", Class: connect.ClassFatal, Place: "group.id=" + group, Message: other.Error(),
		Mend: "give each worker an address that the others reach: listeners, or rest.advertised.host.name and rest.advertised.port",
	}
	if other.Foreign {
		e.Code = "worker.foreign"
		e.Mend = "a group is taken over as a whole: stop all workers of Kafka Connect, then start this one; to go back, do so the other way round"
	}
	return e
}

// groupHost is the herder as its member of the group knows it.
type groupHost struct{ h *Herder }

// Configured implements fleet.Host.
func (g groupHost) Configured() (work []fleet.Work, offset int64) {
	if log, ok := g.h.configs.(interface{ Position(int32) int64 }); ok {
		offset = log.Position(0)
	}
	g.h.mu.Lock()
	defer g.h.mu.Unlock()
	for name, c := range g.h.state.connectors {
		work = append(work, connectorWork(name))
		for i := range c.tasks {
			work = append(work, taskWork(TaskID{name, i}))
		}
	}
	return work, offset
}

// Refresh implements fleet.Host.
func (g groupHost) Refresh(ctx context.Context) error { return g.h.configs.ReadToEnd(ctx) }

// Apply implements fleet.Host.
func (g groupHost) Apply(ctx context.Context, s fleet.State) { g.h.take(ctx, s) }
