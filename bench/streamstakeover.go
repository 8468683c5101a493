package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemill/tidemill/bench/apps"
)

const (
	// changedRows are written right before the owner is killed, and as many after it: what
	// the standby has to do before it has taken over.
	changedRows = 1000
	// takeoverSession is after how long of silence a group gives up on a member here, the
	// shortest time that brokers allow by default.
	takeoverSession = 6 * time.Second
	// readAgain is the share of the state above which a standby has not taken over a copy
	// but made a new one.
	readAgain = 0.1
)

// benchTakeover builds a large state of which a standby keeps a copy, kills its owner, and
// measures how the standby takes over; then how the state is restored by an instance that
// has nothing. Both must have every row in the end.
func (b *streamsBed) benchTakeover(ctx context.Context, o options) error {
	keys := max(o.stateMB*1_000_000/apps.WideRowBytes, 2*changedRows)
	// Keys that came in their order would spare the database all of its sorting.
	l := topologyLoad{name: "takeover", topology: "rows", keys: keys, fill: keys, stride: coprime(keys)}
	t, err := b.newTrial(ctx, l)
	if err != nil {
		return err
	}
	p := b.tidemill(l, 0, "--standbys", "1", "--session", takeoverSession.String(), "--exactly-once=true")
	what := fmt.Sprintf("a state of %s rows of %d bytes", grouped(fmt.Sprint(keys)), apps.WideRowBytes)
	if err := b.takenOver(ctx, o, t, p, what); err != nil {
		return err
	}
	if err := b.restoredWide(ctx, o, t, p, what); err != nil {
		return err
	}
	return b.removeTrial(ctx, t)
}

// handover is how a standby took the place of an owner.
type handover struct {
	rows                int
	copying             round
	noticed, took       time.Duration // From the owner's death until the standby begins, and has done what is to be done.
	answered            time.Duration // Until it answers its first query.
	again               int64         // Records it has read of the changelog for that.
	copyPeak, tookPeak  float64
	ownerDisk, copyDisk float64
}

// takenOver has one instance build the state and another one copy it, kills the first, and
// measures how long it takes until what was written around that has been committed by the
// second.
func (b *streamsBed) takenOver(ctx context.Context, o options, t *trial, p program, what string) error {
	h := handover{rows: t.fill}
	began := time.Now()
	owner, err := p.launch(ctx, t, b.stateDir(t, 0))
	if err != nil {
		return err
	}
	defer owner.kill()
	if err := b.write(ctx, t, t.fill); err != nil {
		return err
	}
	if err := b.committed(ctx, t, owner.process, t.made); err != nil {
		return err
	}
	_, peak := memory(owner.cmd.Process.Pid)
	o.report(figure{Name: "streams.takeover.built_s", Unit: "s", Value: time.Since(began).Seconds(), RSS: peak, What: what + ", made from their records; peak memory of who has made them"})
	standby, err := b.copied(ctx, t, p, &h)
	if err != nil {
		return err
	}
	defer standby.kill()
	h.ownerDisk, h.copyDisk = onDisk(b.stateDir(t, 0)), onDisk(b.stateDir(t, 1))
	o.report(h.copied(what))
	if err := b.killed(ctx, t, owner, standby, &h); err != nil {
		return err
	}
	for _, f := range h.figures(what) {
		o.report(f)
	}
	if err := errors.Join(b.checkRows(standby, t), b.checkAll(standby, t)); err != nil {
		return err
	}
	standby.stop()
	return errors.Join(os.RemoveAll(b.stateDir(t, 0)), os.RemoveAll(b.stateDir(t, 1)))
}

// copied starts an instance and waits until it has a whole copy of the state.
func (b *streamsBed) copied(ctx context.Context, t *trial, p program, h *handover) (*started, error) {
	began, before := time.Now(), usage{broker: b.broker.cpu()}
	path, args := p.command(t, b.stateDir(t, 1))
	process, err := start(path, args...)
	if err != nil {
		return nil, err
	}
	s := &started{process: process}
	err = s.until(ctx, "a copy of the state", func() bool {
		if s.address == "" {
			s.address, _ = s.said(apps.ListeningMark)
			return false
		}
		now := s.standing()
		return now.Copies == 1 && now.Lag == 0 && now.Copied >= int64(t.fill)
	})
	if err != nil {
		s.kill()
	}
	h.copying = round{took: time.Since(began), usage: b.used(s).since(before)}
	_, h.copyPeak = memory(s.cmd.Process.Pid)
	return s, err
}

// killed kills the owner in the middle of its work and follows how the standby takes over.
func (b *streamsBed) killed(ctx context.Context, t *trial, owner, standby *started, h *handover) error {
	before := standby.standing()
	if err := b.write(ctx, t, changedRows); err != nil {
		return err
	}
	owner.kill()
	began := time.Now()
	if err := b.write(ctx, t, changedRows); err != nil {
		return err
	}
	if err := standby.until(ctx, "the standby to begin", func() bool { return standby.output.contains(apps.RestoringMark) }); err != nil {
		return err
	}
	h.noticed = time.Since(began)
	if err := standby.until(ctx, "an answer", func() bool { return standby.knows() }); err != nil {
		return err
	}
	h.answered = time.Since(began)
	if err := b.committed(ctx, t, standby.process, t.made); err != nil {
		return err
	}
	h.took = time.Since(began)
	_, h.tookPeak = memory(standby.cmd.Process.Pid)
	if h.again = standby.standing().Restored - before.Restored; float64(h.again) > readAgain*float64(h.rows) {
		return fmt.Errorf("the standby read %d records to take over %d rows of which it had a copy", h.again, h.rows)
	}
	return nil
}

// knows tells whether an instance answers for the first key.
func (s *started) knows() bool {
	_, err := s.get("/row/0")
	return err == nil
}

// get asks an instance.
func (s *started) get(path string) (string, error) {
	resp, err := http.Get("http://" + s.address + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", path, resp.Status, text)
	}
	return string(text), err
}

// copied is how the standby has made its copy.
func (h handover) copied(what string) figure {
	rs := rounds{n: h.rows, ours: []round{h.copying}}
	f := rs.figure("streams.takeover.copied", "records/s", "")
	f.RSS = h.copyPeak
	f.What = fmt.Sprintf("%s, copied by a standby from the changelog in %.0f s; %.0f MB on its disk, %.0f MB on the owner's", what, h.copying.took.Seconds(), h.copyDisk, h.ownerDisk)
	return f
}

// figures are how the standby has taken over.
func (h handover) figures(what string) []figure {
	ms := func(name string, d time.Duration, what string) figure {
		return figure{Name: "streams.takeover." + name, Unit: "ms", Value: float64(d.Microseconds()) / 1000, RSS: h.tookPeak, What: what}
	}
	return []figure{
		ms("answers_ms", h.answered-h.noticed, what+", from when the standby is given the killed owner's task until it answers a query"),
		ms("after_session_ms", h.took-h.noticed, fmt.Sprintf("the same until it has committed what was written meanwhile; it read %s records of the changelog", grouped(fmt.Sprint(h.again)))),
		ms("ms", h.took, fmt.Sprintf("the same from the owner's death, of which the group learns after %v of silence", takeoverSession)),
	}
}

// restoredWide measures how an instance with nothing on its disk restores the state.
func (b *streamsBed) restoredWide(ctx context.Context, o options, t *trial, p program, what string) error {
	m, err := b.restore(ctx, t, p, 2, func(s *started) error { return b.checkAll(s, t) })
	if err != nil {
		return err
	}
	bare, err := b.bare(ctx, t, apps.BareConsumer, []string{t.name + "-" + apps.CountStore + "-changelog"}, t.fill)
	if err != nil {
		return err
	}
	rs := rounds{n: t.fill, ours: []round{m.round}, limits: []round{bare}}
	f := rs.figure("streams.takeover.cold", "records/s", consumerName)
	f.What = fmt.Sprintf("%s, restored from the changelog by an instance that has nothing, in %.1f s; %.0f MB on its disk", what, m.took.Seconds(), onDisk(b.stateDir(t, 2)))
	f.RSS = m.peak
	o.report(f.heldPerCore(400_000))
	return os.RemoveAll(b.stateDir(t, 2))
}

// checkRows asks for rows of all over the state and compares them with what they must be.
func (b *streamsBed) checkRows(s *started, t *trial) error {
	for i := range changedRows {
		key := int64(i) * int64(t.fill) / changedRows
		row, err := s.get(fmt.Sprintf("/row/%d", key))
		if err != nil {
			return err
		}
		if row != string(t.row(key)) {
			return fmt.Errorf("the row of %d is %.100q and not %.100q", key, row, t.row(key))
		}
	}
	return nil
}

// checkAll compares all that an instance has, every key and row, with what was written.
func (b *streamsBed) checkAll(s *started, t *trial) error {
	want := apps.NewSum()
	for key := range int64(t.fill) {
		want.Add(longKey(key), t.row(key))
	}
	got, err := s.get("/sum")
	if err == nil && got != want.String() {
		err = fmt.Errorf("the state is %s and not %s", got, want)
	}
	return err
}

// coprime is a stride that leads past all of n keys, and by large steps if there are many.
func coprime(n int) int {
	for _, prime := range []int{7_368_787, 99_991} {
		if n%prime != 0 && prime < n {
			return prime
		}
	}
	return 1
}

// row is what the last order of a key has made.
func (t *trial) row(key int64) []byte {
	id, changed := t.latest[key]
	if !changed {
		id = key // The order that filled it in.
	}
	return apps.WideRow(key, id)
}

// onDisk is what a folder takes, in MB.
func onDisk(dir string) float64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(d.Name(), ".tmp") {
			return nil // It was removed meanwhile.
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return float64(sum) / 1e6
}
