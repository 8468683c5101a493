package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

	mu     sync.Mutex // guards the following; held while a copy is written
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
	end int64 // of the changelog when it was last heard of
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Equal(c.wanted, ids) {
		return
	}
	c.forget(func(id taskID) bool { return !slices.Contains(ids, id) })
	c.wanted = ids
	c.again()
}

// release stops keeping a copy: its stores are somebody else's from now on.
func (c *copies) release(ids ...taskID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := func(id taskID) bool { return slices.Contains(ids, id) }
	if !slices.ContainsFunc(c.wanted, gone) {
		return
	}
	c.forget(gone)
	c.wanted = slices.DeleteFunc(slices.Clone(c.wanted), gone)
	c.again()
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
	c.mu.Lock()
	defer c.mu.Unlock()
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
	if errors.Is(err, topics.ErrGone) {
		// They begin anew, from what there is.
		c.mu.Lock()
		c.forget(func(taskID) bool { return true })
		c.mu.Unlock()
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
	c.mu.Lock()
	defer c.mu.Unlock()
	part := c.part(f.Topic, f.Partition)
	if part == nil || f.Next <= part.st.position {
		return nil
	}
	st, b := part.st, c.a.e.db.Batch()
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
	part.moveTo(b, f.Next)
	if err := b.Commit(); err != nil {
		return fmt.Errorf("keeping a copy of store %s of %s: %w", st.spec.name, c.a.ID, err)
	}
	st.expired()
	part.end = f.End
	c.a.metrics.Copied.Add(int64(len(f.Records)))
	c.a.metrics.StandbyLag.Store(c.lagOfAll())
	c.a.stirAll()
	return nil
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
