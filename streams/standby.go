package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/topics"
)

// copies keeps the stores of tasks that run elsewhere up to date from their changelogs:
// standby replicas, and those of tasks that are to be taken over.
type copies struct {
	a   *application
	env *taskEnv
	// heard is when brokers last answered, in nanoseconds: a copy that hears nothing does
	// not know what it lacks.
	heard atomic.Int64

	writing sync.Mutex // held while a copy is written, and taken before mu; guards the following
	fills   *filling   // nil while no copy is far behind

	mu     sync.Mutex // guards the following
	wanted []taskID
	kept   map[taskID]*copied
	again  context.CancelFunc // has the following begin anew
}

// copied is the copy of one task's stores.
type copied struct {
	t     *task
	parts map[string]*copiedPart // by changelog
}

type copiedPart struct {
	logPart
	end   int64 // of the changelog when it was last heard of
	ahead int64 // how far it is in a Fill, 0 when it is not; guarded by writing
}

func (p *copiedPart) lag() int64 { return max(p.end-p.st.position, 0) }

func newCopies(a *application, env *taskEnv) *copies {
	return &copies{a: a, env: env, kept: map[taskID]*copied{}, again: func() {}}
}

// hearing is how long brokers may be silent before copies count as unknown. Followers
// are answered several times a second, also when there is nothing new.
const hearing = 5 * time.Second

// want says of which tasks copies are kept.
func (c *copies) want(ids []taskID) {
	if c.wants(func(wanted []taskID) bool { return slices.Equal(wanted, ids) }) {
		return
	}
	defer c.still()()
	c.forget(func(id taskID) bool { return !slices.Contains(ids, id) })
	c.wanted = ids
	c.again()
}

// release stops keeping a copy: its stores are somebody else's from now on.
func (c *copies) release(ids ...taskID) {
	gone := func(id taskID) bool { return slices.Contains(ids, id) }
	if !c.wants(func(wanted []taskID) bool { return slices.ContainsFunc(wanted, gone) }) {
		return
	}
	defer c.still()()
	c.forget(gone)
	c.wanted = slices.DeleteFunc(slices.Clone(c.wanted), gone)
	c.again()
}

// wants looks at which copies are wanted, which the caller alone changes.
func (c *copies) wants(which func([]taskID) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return which(c.wanted)
}

// still keeps copies from being written, and has those that were written so far in the DB,
// until what it returns is called. What could not be written is read again.
func (c *copies) still() (release func()) {
	c.writing.Lock()
	if err := c.settle(); err != nil {
		c.a.e.cfg.Logger.Warn("copies of stores could not be written", "app", c.a.ID, "error", err)
	}
	c.mu.Lock()
	return func() {
		c.mu.Unlock()
		c.writing.Unlock()
	}
}

// forget drops copies, and has readers look again at what they read. c.mu is held.
func (c *copies) forget(which func(taskID) bool) {
	for id := range c.kept {
		if which(id) {
			delete(c.kept, id)
		}
	}
	c.a.metrics.Standbys.Store(int64(len(c.kept)))
	c.a.hub.Moved()
}

// run follows the changelogs until ctx is done. What goes wrong is tried again; the tasks
// that run here have nothing to do with it.
func (c *copies) run(ctx context.Context) {
	for wait := time.Duration(0); ctx.Err() == nil; {
		following, stop := context.WithCancel(ctx)
		c.mu.Lock()
		c.again = stop
		ids := c.wanted
		c.mu.Unlock()
		err := c.follow(following, ids)
		if following.Err() != nil {
			wait = 0
			stop()
			continue
		}
		c.a.e.cfg.Logger.Warn("copies of stores are not kept up to date", "app", c.a.ID, "error", err)
		wait = min(max(2*wait, 100*time.Millisecond), 10*time.Second)
		select {
		case <-time.After(wait):
		case <-following.Done():
		}
		stop()
	}
	defer c.still()()
	c.wanted = nil
	c.forget(func(taskID) bool { return true })
}

// follow reads the changelogs of tasks until ctx is done or something is wrong.
func (c *copies) follow(ctx context.Context, ids []taskID) error {
	from := map[string]map[int32]int64{}
	var names []string
	for _, id := range ids {
		for _, spec := range c.a.Topology.subs[id.sub].stores {
			if name := changelogName(c.a.ID, spec.name); !spec.layout.Unlogged && from[name] == nil {
				from[name], names = map[int32]int64{}, append(names, name)
			}
		}
	}
	if len(names) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	spans, err := c.a.e.client.Spans(ctx, names...)
	if err != nil {
		return err
	}
	c.heard.Store(time.Now().UnixNano())
	for _, id := range ids {
		if err := c.begin(ctx, id, spans, from); err != nil {
			return err
		}
	}
	err = c.a.e.client.Follow(ctx, from, c.take, func() { c.heard.Store(time.Now().UnixNano()) })
	defer c.still()()
	if errors.Is(err, topics.ErrGone) {
		// They begin anew, from what there is.
		c.forget(func(taskID) bool { return true })
	}
	return err
}

// begin opens the copy of a task, if it is not open, and notes where to go on.
func (c *copies) begin(ctx context.Context, id taskID, spans map[string]map[int32]topics.Span, from map[string]map[int32]int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err() // What was wanted may not be any more.
	}
	k := c.kept[id]
	if k == nil {
		t, err := openStores(c.env, c.a.Topology.subs[id.sub], id.partition)
		if err == nil {
			err = t.loadPositions()
		}
		if err != nil {
			return err
		}
		k = &copied{t: t, parts: map[string]*copiedPart{}}
	}
	for _, st := range k.t.ordered {
		if st.spec.layout.Unlogged {
			continue
		}
		span, part := spans[st.changelog][id.partition], k.parts[st.changelog]
		if part == nil {
			part = &copiedPart{logPart: logPart{t: k.t, st: st}}
			if _, err := part.begin(c.a, span); err != nil {
				return err
			}
			k.parts[st.changelog] = part
		}
		part.end = max(part.end, span.End)
		from[st.changelog][id.partition] = st.position
	}
	c.kept[id] = k
	c.a.metrics.Standbys.Store(int64(len(c.kept)))
	return nil
}

// take brings a copy up to date with what was read.
func (c *copies) take(f topics.Followed) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	part := c.part(f.Topic, f.Partition)
	c.mu.Unlock()
	if part == nil || f.Next <= max(part.st.position, part.ahead) {
		return nil
	}
	lacks := f.End - f.Next
	if c.fills == nil && lacks >= c.a.e.farBehind && part.st.versions == nil {
		c.fills = c.a.e.fillFor(lacks)
	}
	st, b := part.st, c.batch(part, lacks)
	scratch, err := part.t.replay(b, st, f.Records, nil)
	if err != nil {
		return err
	}
	if st.spec.layout.Segmented() {
		for _, r := range f.Records {
			scratch = st.spec.layout.AppendLocal(scratch[:0], r.Key)
			st.met(scratch)
		}
		st.expire(b)
	}
	part.t.setPosition(b, 'c', st.spec.name, f.Next)
	if err := c.commit(part, b, f); err != nil {
		return fmt.Errorf("keeping a copy of store %s of %s: %w", st.spec.name, c.a.ID, err)
	}
	st.expired()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.a.metrics.Copied.Add(int64(len(f.Records)))
	c.a.metrics.StandbyLag.Store(c.lagOfAll())
	c.a.stirAll()
	return nil
}

// batch takes what a copy gets that lacks so many records. One that goes on in a Fill stays
// there until that is committed. c.writing is held.
func (c *copies) batch(part *copiedPart, lacks int64) state.Batch {
	if c.fills == nil || part.ahead == 0 && lacks < c.a.e.farBehind {
		return c.a.e.db.Batch()
	}
	return c.fills.batch(part.st)
}

// commit commits what a copy has got: at once, or with the Fill, when there is much of that
// or none of the copies in it lacks much. c.writing is held.
func (c *copies) commit(part *copiedPart, b state.Batch, f topics.Followed) error {
	filled := c.fills != nil && b == state.Batch(c.fills.fill)
	if !filled {
		if err := b.Commit(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	if part.end = f.End; filled {
		part.ahead = f.Next
	} else {
		part.st.position = f.Next
	}
	near := c.near()
	c.mu.Unlock()
	if c.fills != nil && (near || c.fills.due()) {
		return c.settle()
	}
	return nil
}

// near tells whether none of the copies in the Fill lacks much. Both locks are held.
func (c *copies) near() bool {
	for _, k := range c.kept {
		for _, part := range k.parts {
			if part.ahead > 0 && part.end-part.ahead > c.a.e.farBehind/100 {
				return false
			}
		}
	}
	return true
}

// settle commits what is in the Fill. c.writing is held.
func (c *copies) settle() error {
	if c.fills == nil {
		return nil
	}
	err := errors.Join(c.fills.settle(), c.fills.close())
	c.fills = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.kept {
		for _, part := range k.parts {
			if part.ahead > 0 && err == nil {
				part.st.position = part.ahead
			}
			part.ahead = 0
		}
	}
	return err
}

// part returns the copy of a changelog's partition, nil when there is none. c.mu is held.
func (c *copies) part(changelog string, partition int32) *copiedPart {
	for id, k := range c.kept {
		if id.partition == partition && k.parts[changelog] != nil {
			return k.parts[changelog]
		}
	}
	return nil
}

// lagOfAll is what all copies lack. c.mu is held.
func (c *copies) lagOfAll() (n int64) {
	for _, k := range c.kept {
		n += k.lag()
	}
	return n
}

func (k *copied) lag() (n int64) {
	for _, part := range k.parts {
		n += part.lag()
	}
	return n
}

// warmedUp tells whether a task that is to be taken over lacks no more than it may.
func (c *copies) warmedUp(warm []standing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(warm, func(s standing) bool {
		k := c.kept[s.id]
		return k != nil && c.hears() && k.lag() <= s.at
	})
}

func (c *copies) hears() bool { return time.Since(time.Unix(0, c.heard.Load())) < hearing }

// lag tells how many records the copy of a store lacks.
func (c *copies) lag(store string, partition int32) (n int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	part := c.part(changelogName(c.a.ID, store), partition)
	if part == nil || !c.hears() {
		return 0, false
	}
	return part.lag(), true
}

// stirAll is stir for those who do not hold a.mu.
func (a *application) stirAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stir()
}

// copyLag tells how far the copy of a partition here is behind.
func (a *application) copyLag(store string, partition int32) (int64, bool) {
	if c := a.copies.Load(); c != nil {
		return c.lag(store, partition)
	}
	return 0, false
}
