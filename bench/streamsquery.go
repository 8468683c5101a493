package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// queryConnections is over how many connections point queries go, each with one at a
// time under way.
const queryConnections = 50

// queryUse is what answering n queries has taken.
type queryUse struct {
	usage
	n    int
	peak float64
}

// queried asks an application for counts at a pace, while it takes in records at the
// same pace. First it asks the same server for something that stands fixed. Of several
// instances one is asked; what they all use is counted.
func (b *streamsBed) queried(ctx context.Context, l topologyLoad, instances int, p pacing) (ours, bare []time.Duration, used queryUse, err error) {
	t, err := b.newTrial(ctx, l)
	if err != nil {
		return nil, nil, used, err
	}
	if err := b.write(ctx, t, 2*l.keys); err != nil {
		return nil, nil, used, err
	}
	fleet, err := b.launchFleet(ctx, t, instances)
	defer func() {
		for _, s := range fleet {
			s.kill()
		}
	}()
	if err != nil {
		return nil, nil, used, err
	}
	s := fleet[0]
	if err := b.committed(ctx, t, s.process, t.made); err != nil {
		return nil, nil, used, err
	}
	known := func(int) string { return fmt.Sprintf("/count/%d", t.random.Int64N(int64(l.keys))) }
	if bare, err = b.ask(ctx, t, s, p, func(int) string { return "/fixed" }); err != nil {
		return nil, nil, used, err
	}
	var before []usage
	for _, s := range fleet {
		before = append(before, b.used(s))
	}
	if ours, err = b.ask(ctx, t, s, p, known); err != nil {
		return nil, nil, used, err
	}
	used.n = p.total()
	for i, s := range fleet {
		one := b.used(s).since(before[i])
		_, peak := memory(s.cmd.Process.Pid)
		used.worker, used.peak = used.worker+one.worker, max(used.peak, peak)
		s.stop()
		err = errors.Join(err, os.RemoveAll(b.stateDir(t, i)))
	}
	return ours, bare, used, errors.Join(err, b.removeTrial(ctx, t))
}

// launchFleet starts instances that answer each other, and waits until each of them has
// some of the tasks. Those that were started are returned in any case.
func (b *streamsBed) launchFleet(ctx context.Context, t *trial, instances int) (fleet []*started, err error) {
	for i := range instances {
		var more []string
		if instances > 1 {
			more = []string{"--remote"}
		}
		s, err := b.tidemill(t.topologyLoad, 0, more...).launch(ctx, t, b.stateDir(t, i))
		if err != nil {
			return fleet, err
		}
		fleet = append(fleet, s)
	}
	share := int64(t.parts()) / int64(instances)
	for _, s := range fleet {
		err = s.until(ctx, "the tasks to be shared", func() bool { return s.standing().Tasks == share })
		if err != nil {
			break
		}
	}
	return fleet, err
}

// ask sends requests evenly over time and returns how long each took from when it was
// due, without the first fifth. One that had to wait for its turn counts from then.
func (b *streamsBed) ask(ctx context.Context, t *trial, s *started, p pacing, path func(i int) string) ([]time.Duration, error) {
	paths := make([]string, p.total())
	for i := range paths {
		paths[i] = path(i)
	}
	took := make([]time.Duration, len(paths))
	began := time.Now().Add(50 * time.Millisecond)
	asking, within := errgroup.WithContext(ctx)
	for c := range queryConnections {
		asking.Go(func() error {
			return askOne(within, s.address, func(ask func(string) error) error {
				for i := c; i < len(paths); i += queryConnections {
					due := began.Add(time.Duration(i) * time.Second / time.Duration(p.rate))
					if err := rest(within, time.Until(due)); err != nil {
						return err
					}
					if err := ask(paths[i]); err != nil {
						return err
					}
					took[i] = time.Since(due)
				}
				return nil
			})
		})
	}
	asking.Go(func() error { return b.flow(within, t, p) })
	return took[len(took)/5:], asking.Wait()
}

// flow writes records evenly over time.
func (b *streamsBed) flow(ctx context.Context, t *trial, p pacing) error {
	w, err := b.newWriter(ctx)
	if err != nil {
		return err
	}
	defer w.client.Close()
	const together = 100 // One alone would be a timer for each.
	few := pacing{rate: p.rate / together, last: p.last}
	err = few.evenly(ctx, func(int) error {
		for range together {
			r, err := t.next()
			if err != nil {
				return err
			}
			w.put(r)
		}
		return nil
	})
	return errors.Join(err, w.flush())
}

// askOne opens a connection and lets do ask over it. It is less work than with an HTTP
// client of the library, which would compete with what is measured for the processors, and
// which whoever asks from another machine would not.
func askOne(ctx context.Context, address string, do func(ask func(path string) error) error) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	in, request := bufio.NewReader(conn), []byte(nil)
	return do(func(path string) error {
		request = append(append(append(request[:0], "GET "...), path...), " HTTP/1.1\r\nHost: bench\r\n\r\n"...)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		return readAnswer(in, path)
	})
}

// readAnswer reads an answer with a length, and is content when all went well.
func readAnswer(in *bufio.Reader, path string) error {
	const well, length = "HTTP/1.1 200 ", "content-length: "
	status, body := "", 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if status == "" {
			if status = well; !bytes.HasPrefix(line, []byte(well)) {
				status = string(line)
			}
			continue
		}
		if len(line) == 0 {
			break
		}
		if len(line) > len(length) && bytes.EqualFold(line[:len(length)], []byte(length)) {
			if body, err = strconv.Atoi(string(line[len(length):])); err != nil {
				return err
			}
		}
	}
	if status == well {
		_, err := in.Discard(body)
		return err
	}
	text, err := io.ReadAll(io.LimitReader(in, int64(body)))
	return errors.Join(fmt.Errorf("GET %s: %s %s", path, status, text), err)
}
