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
	// changedRows are written after the owner was killed: what the standby has to do before
	// it has taken over.
	changedRows = 1000
	// takeoverSession is after how long of silence a group gives up on a member here, the
	// shortest time that brokers allow by default.
	takeoverSession = 6 * time.Second
)

// benchTakeover builds a large state of which a standby keeps a copy, kills its owner, and
// measures how the standby takes over; then how the state is restored by an instance that
// has nothing.
func (b *streamsBed) benchTakeover(ctx context.Context, o options) error {
	keys := max(o.stateMB*1_000_000/apps.WideRowBytes, 2*changedRows)
	l := topologyLoad{name: "takeover", topology: "rows", keys: keys, fill: keys}
	t, err := b.newTrial(ctx, l)
	if err != nil {
		return err
	}
	p := b.tidemill(l, 0, "--standbys", "1", "--session", takeoverSession.String())
	what := fmt.Sprintf("a state of %s rows of %s bytes", grouped(fmt.Sprint(keys)), grouped(fmt.Sprint(apps.WideRowBytes)))
	if err := b.takenOver(ctx, o, t, p, what); err != nil {
		return err
	}
	if err := b.restoredWide(ctx, o, t, p, what); err != nil {
		return err
	}
	return b.removeTrial(ctx, t)
}

// takenOver has one instance build the state and another one copy it, kills the first, and
// measures how long it takes until what is written then has been committed by the second.
func (b *streamsBed) takenOver(ctx context.Context, o options, t *trial, p program, what string) error {
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
	built := time.Since(began)
	_, ownerPeak := memory(owner.cmd.Process.Pid)
	standby, copied, err := b.copied(ctx, t, p)
	if err != nil {
		return err
	}
	defer standby.kill()
	before := standby.standing()
	owner.kill()
	began = time.Now()
	if err := b.write(ctx, t, changedRows); err != nil {
		return err
	}
	if err := standby.until(ctx, "the standby to begin", func() bool { return standby.output.contains(apps.RestoringMark) }); err != nil {
		return err
	}
	noticed := time.Since(began)
	if err := b.committed(ctx, t, standby.process, t.made); err != nil {
		return err
	}
	took := time.Since(began)
	if err := b.checkRows(standby, t); err != nil {
		return err
	}
	_, peak := memory(standby.cmd.Process.Pid)
	missing := standby.standing().Restored - before.Restored
	standby.stop()
	size := onDisk(b.stateDir(t, 1))
	o.report(figure{Name: "streams.takeover.built_s", Unit: "s", Value: built.Seconds(), What: what + ", made from their records; peak memory of who has made them", RSS: ownerPeak})
	o.report(figure{Name: "streams.takeover.copied_s", Unit: "s", Value: copied.Seconds(), What: fmt.Sprintf("%s, copied by a standby from the changelog while the owner goes on; %.0f MB on its disk", what, size)})
	o.report(figure{
		Name: "streams.takeover.after_session_ms", Unit: "ms", Value: float64((took - noticed).Milliseconds()), RSS: peak,
		What: fmt.Sprintf("%s, from when the standby is given the killed owner's task until it has committed what was written meanwhile; it read %s records of the changelog", what, grouped(fmt.Sprint(missing))),
	})
	o.report(figure{Name: "streams.takeover.s", Unit: "s", Value: took.Seconds(), RSS: peak, What: fmt.Sprintf("the same from the owner's death, of which the group learns after %v of silence", takeoverSession)})
	return errors.Join(os.RemoveAll(b.stateDir(t, 0)), os.RemoveAll(b.stateDir(t, 1)))
}

// copied starts an instance and waits until it has a whole copy of the state.
func (b *streamsBed) copied(ctx context.Context, t *trial, p program) (*started, time.Duration, error) {
	began := time.Now()
	path, args := p.command(t, b.stateDir(t, 1))
	process, err := start(path, args...)
	if err != nil {
		return nil, 0, err
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
	return s, time.Since(began), err
}

// restoredWide measures how an instance with nothing on its disk restores the state.
func (b *streamsBed) restoredWide(ctx context.Context, o options, t *trial, p program, what string) error {
	changelog := t.name + "-" + apps.CountStore + "-changelog"
	n, err := b.length(ctx, changelog)
	if err != nil {
		return err
	}
	m, err := b.restore(ctx, t, p, 2)
	if err != nil {
		return err
	}
	bare, err := b.bare(ctx, t, apps.BareConsumer, []string{changelog}, n)
	if err != nil {
		return err
	}
	rs := rounds{n: n, ours: []round{m.round}, limits: []round{bare}}
	f := rs.figure("streams.takeover.cold", "records/s", consumerName)
	f.What, f.RSS = fmt.Sprintf("%s, restored from the changelog by an instance that has nothing, in %.1f s", what, m.took.Seconds()), m.peak
	o.report(f)
	return os.RemoveAll(b.stateDir(t, 2))
}

// checkRows asks for rows of all over the state and compares them with what they must be.
func (b *streamsBed) checkRows(s *started, t *trial) error {
	client := &http.Client{Timeout: time.Minute}
	for i := range changedRows {
		key := int64(i) * int64(t.fill) / changedRows
		resp, err := client.Get(fmt.Sprintf("http://%s/row/%d", s.address, key))
		if err != nil {
			return err
		}
		row, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the row of %d: %s %s %w", key, resp.Status, row, err)
		}
		var id int64
		if _, err := fmt.Sscanf(string(row), `{"order":%d,`, &id); err != nil || string(row) != string(apps.WideRow(key, id)) {
			return fmt.Errorf("the row of %d is %.100q", key, row)
		}
		if at, changed := t.latest[key]; changed && at != id || !changed && id != key {
			return fmt.Errorf("the row of %d is that of order %d", key, id)
		}
	}
	return nil
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
