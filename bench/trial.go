package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/bench/apps"
)

// tidemill is an application of our engine, with so much cache; the
// default when zero.
func (b *streamsBed) tidemill(l topologyLoad, cache int64, more ...string) program {
	return program{name: "tidemill", warm: 10, command: func(t *trial, dir string) (string, []string) {
		args := []string{
			"--topology", l.topology, "--id", t.name, "--inputs", strings.Join(t.inputs, ","), "--output", t.output,
			"--brokers", b.broker.addrs, "--registry", b.registry.URL(), "--dir", dir,
		}
		if cache > 0 {
			args = append(args, "--cache", fmt.Sprint(cache), "--block-cache", fmt.Sprint(cache))
		}
		return b.application, append(args, more...)
	}}
}

// started is a process that runs a trial's topology.
type started struct {
	*process
	address string // Where it answers HTTP; empty when it does not.
}

// launch starts an application and waits until it runs.
func (p program) launch(ctx context.Context, t *trial, dir string) (*started, error) {
	path, args := p.command(t, dir)
	process, err := start(path, args...)
	if err != nil {
		return nil, err
	}
	s := &started{process: process}
	if err := s.until(ctx, p.name, func() bool { return s.output.contains(apps.RunningMark) }); err != nil {
		s.kill()
		return nil, err
	}
	s.address, _ = s.said(apps.ListeningMark)
	return s, nil
}

// said returns the rest of the line that begins with mark.
func (s *started) said(mark string) (rest string, ok bool) {
	for line := range strings.Lines(s.output.last(1000)) {
		if rest, ok = strings.CutPrefix(strings.TrimSpace(line), mark); ok {
			return rest, true
		}
	}
	return "", false
}

// used is what the application and the broker have used so far.
func (b *streamsBed) used(s *started) usage {
	u := usage{worker: processorTime(s.cmd.Process.Pid), broker: b.broker.cpu()}
	if s.address == "" {
		return u
	}
	resp, err := http.Get("http://" + s.address + "/allocated")
	if err != nil {
		return u
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	_, _ = fmt.Sscan(string(text), &u.objects, &u.bytes)
	return u
}

// standing asks an instance how it stands.
func (s *started) standing() (now apps.Standing) {
	resp, err := http.Get("http://" + s.address + "/standing")
	if err != nil {
		return now
	}
	defer resp.Body.Close()
	_ = json.NewDecoder(resp.Body).Decode(&now) // Who asks does so again.
	return now
}

// measured is one run of an application, and the bare loop over its records.
type measured struct {
	round
	bare round
	peak float64
}

// measure lets an application process n records that are all there when it begins.
// Before that it has processed some others, so that it is warm, and stood still while
// these were written. What it has written is counted at the end.
func (b *streamsBed) measure(ctx context.Context, l topologyLoad, p program, n int) (m measured, err error) {
	t, err := b.newTrial(ctx, l)
	if err != nil {
		return m, err
	}
	warm := max(n/p.warm, 1000, l.fill)
	if err := b.write(ctx, t, warm); err != nil {
		return m, err
	}
	dir := b.stateDir(t, 0)
	s, err := p.launch(ctx, t, dir)
	if err != nil {
		return m, err
	}
	defer s.kill()
	if m.round, err = b.process(ctx, t, s, n); err != nil {
		return m, err
	}
	_, m.peak = memory(s.cmd.Process.Pid)
	s.stop()
	if err := b.check(ctx, t); err != nil {
		return m, fmt.Errorf("%s: %w", p.name, err)
	}
	if m.bare, err = b.bare(ctx, t, apps.BareLoop, t.facts(), t.made); err != nil {
		return m, err
	}
	m.bare.took = time.Duration(float64(m.bare.took) * float64(n) / float64(t.made))
	m.bare.worker = time.Duration(float64(m.bare.worker) * float64(n) / float64(t.made))
	return m, errors.Join(os.RemoveAll(dir), b.removeTrial(ctx, t))
}

// process waits until the application has caught up, holds it still while n records are
// written, and measures how it processes these.
func (b *streamsBed) process(ctx context.Context, t *trial, s *started, n int) (r round, err error) {
	if err := b.committed(ctx, t, s.process, t.made); err != nil {
		return r, err
	}
	before := b.used(s)
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return r, err
	}
	err = b.write(ctx, t, n)
	before.broker = b.broker.cpu()
	began := time.Now()
	if err = errors.Join(err, s.cmd.Process.Signal(syscall.SIGCONT)); err != nil {
		return r, err
	}
	if err := b.committed(ctx, t, s.process, t.made); err != nil {
		return r, err
	}
	r.took = time.Since(began)
	r.usage = b.used(s).since(before)
	return r, nil
}

// bare runs a loop without any engine over n records of topics, to a topic of its own.
func (b *streamsBed) bare(ctx context.Context, t *trial, loop string, topics []string, n int) (r round, err error) {
	args := []string{"--topology", loop, "--inputs", strings.Join(topics, ","), "--brokers", b.broker.addrs, "--records", fmt.Sprint(n)}
	if loop == apps.BareLoop {
		output := t.name + ".bare"
		if err := b.broker.create(ctx, nil, output); err != nil {
			return r, err
		}
		args = append(args, "--output", output)
	}
	p, err := start(b.application, args...)
	if err != nil {
		return r, err
	}
	defer p.kill()
	select {
	case <-p.done:
	case <-ctx.Done():
		return r, ctx.Err()
	}
	rest, ok := (&started{process: p}).said(apps.LoopMark)
	if !ok {
		return r, fmt.Errorf("%s: %v: %s", loop, p.cmd.ProcessState, p.output.last(10))
	}
	_, err = fmt.Sscan(rest, (*int64)(&r.took), (*int64)(&r.worker))
	return r, err
}

// check reads what an application has written: a figure of a run that lost or repeated
// something is none.
func (b *streamsBed) check(ctx context.Context, t *trial) error {
	got, err := b.results(ctx, t.output)
	if err != nil {
		return err
	}
	want := map[result]int{oneOfEach: t.made, nineOfTen: t.made - (t.made+9)/10, oneOfTwo: t.made / 2}
	switch n, known := want[t.result]; {
	case known && got.records != n:
		return fmt.Errorf("%d records were written and not %d", got.records, n)
	case t.result == sumOfLast && got.sum != int64(t.made):
		return fmt.Errorf("the counts written sum up to %d and not to %d", got.sum, t.made)
	case got.records == 0:
		return errors.New("nothing was written")
	}
	return nil
}

// results is what a topic says.
type results struct {
	records int
	sum     int64 // Of the last value of each key.
}

// results reads a topic to its end, committed records alone.
func (b *streamsBed) results(ctx context.Context, topic string) (got results, err error) {
	var end int64
	err = b.broker.admin(func(admin *kadm.Client) error {
		offsets, err := admin.ListCommittedOffsets(ctx, topic)
		if err == nil {
			err = offsets.Error()
		}
		o, _ := offsets.Lookup(topic, 0)
		end = o.Offset
		return err
	})
	if err != nil {
		return got, err
	}
	at := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.addrs), kgo.ConsumePartitions(at), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return got, err
	}
	defer client.Close()
	last := map[string]int64{}
	for next := int64(0); next < end; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return got, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			got.records++
			if len(r.Value) == 8 {
				last[string(r.Key)] = int64(binary.BigEndian.Uint64(r.Value))
			} else if r.Value == nil {
				delete(last, string(r.Key))
			}
		})
	}
	for _, n := range last {
		got.sum += n
	}
	return got, nil
}
