package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tidemill/tidemill/bench/apps"
)

// restored fills the store of an application, takes its state away, and measures how it
// is rebuilt. It returns how many records the changelog has.
func (b *streamsBed) restored(ctx context.Context, l topologyLoad, n int) (m measured, bare round, found int, err error) {
	t, err := b.newTrial(ctx, l)
	if err != nil {
		return m, bare, 0, err
	}
	if err := b.write(ctx, t, n); err != nil {
		return m, bare, 0, err
	}
	p := b.tidemill(l, 0)
	first, err := p.launch(ctx, t, b.stateDir(t, 0))
	if err != nil {
		return m, bare, 0, err
	}
	defer first.kill()
	if err := b.committed(ctx, t, first.process, n); err != nil {
		return m, bare, 0, err
	}
	first.stop()
	changelog := t.name + "-" + apps.CountStore + "-changelog"
	if found, err = b.length(ctx, changelog); err != nil {
		return m, bare, 0, err
	}
	if m, err = b.restore(ctx, t, p, 1, func(*started) error { return nil }); err != nil {
		return m, bare, 0, err
	}
	if bare, err = b.bare(ctx, t, apps.BareConsumer, []string{changelog}, found); err != nil {
		return m, bare, 0, err
	}
	return m, bare, found, errors.Join(os.RemoveAll(b.stateDir(t, 0)), os.RemoveAll(b.stateDir(t, 1)), b.removeTrial(ctx, t))
}

// restore starts an application without its state, in an empty directory, and takes the
// time from when it begins to rebuild that until it runs. What it has is looked at then.
func (b *streamsBed) restore(ctx context.Context, t *trial, p program, dir int, look func(*started) error) (m measured, err error) {
	path, args := p.command(t, b.stateDir(t, dir))
	process, err := start(path, args...)
	if err != nil {
		return m, err
	}
	s := &started{process: process}
	defer s.kill()
	if err := s.until(ctx, "the changelog", func() bool { return s.output.contains(apps.RestoringMark) }); err != nil {
		return m, err
	}
	before, began := b.used(s), time.Now()
	if err := s.until(ctx, "the application", func() bool { return s.output.contains(apps.RunningMark) }); err != nil {
		return m, err
	}
	m.took, m.usage = time.Since(began), b.used(s).since(before)
	_, m.peak = memory(s.cmd.Process.Pid)
	s.address, _ = s.said(apps.ListeningMark)
	err = look(s)
	s.stop()
	return m, err
}

// length is how many offsets a topic has.
func (b *streamsBed) length(ctx context.Context, topic string) (n int, err error) {
	err = b.broker.admin(func(admin *kadm.Client) error {
		offsets, err := admin.ListCommittedOffsets(ctx, topic)
		if err == nil {
			err = offsets.Error()
		}
		o, ok := offsets.Lookup(topic, 0)
		if err == nil && !ok {
			err = fmt.Errorf("there is no topic %s", topic)
		}
		n = int(o.Offset)
		return err
	})
	return n, err
}
