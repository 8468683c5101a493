package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	recvlogicalName = "pg_recvlogical"
	copyName        = "psql COPY binary, one connection"
	producerName    = "a bare producer"
)

// tool runs a program of PostgreSQL's to its end and returns how long that took, with
// its own processor time and that of the server.
func (d *database) tool(ctx context.Context, name string, args ...string) (r round, err error) {
	path := filepath.Join(d.pg.BinDir(), name)
	if _, err := exec.LookPath(path); err != nil {
		// Packages of the server alone leave some of its programs out.
		if path, err = exec.LookPath(name); err != nil {
			return r, fmt.Errorf("%s is neither in %s nor in PATH: %w", name, d.pg.BinDir(), err)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	before, began := d.cpu(), time.Now()
	out, err := cmd.CombinedOutput()
	r.took = time.Since(began)
	if err != nil {
		return r, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	r.worker = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.server = d.cpu() - before
	return r, nil
}

// recvlogical reads what stands behind "origin" to the given position with PostgreSQL's
// own client.
func (d *database) recvlogical(ctx context.Context, end string) (round, error) {
	const slot = "reference"
	if err := d.copySlot(ctx, slot); err != nil {
		return round{}, err
	}
	r, err := d.tool(ctx, "pg_recvlogical", "-d", d.url.String(), "--slot", slot, "--start",
		"-o", "proto_version=1", "-o", "publication_names=bench", "--endpos", end, "--no-loop", "-f", "/dev/null")
	if err != nil {
		return r, err
	}
	return r, d.dropSlot(ctx, slot)
}

// copyTable copies a table to /dev/null with psql.
func (d *database) copyTable(ctx context.Context, table string) (round, error) {
	return d.tool(ctx, "psql", d.url.String(), "-qXc", "COPY "+table+" TO STDOUT (FORMAT binary)", "-o", "/dev/null")
}

// produce sends n records of the given sizes to a topic of its own, with the settings a
// task's producer has by default, until the last is acknowledged.
func (s *stack) produce(ctx context.Context, n int, of contents) (r round, err error) {
	topic := s.unique("producer")
	if err := s.broker.create(ctx, nil, topic); err != nil {
		return r, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker.addrs), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(1<<17), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return r, err
	}
	defer client.Close()
	keyBytes, valueBytes := of.sizes()
	key, value := bytes.Repeat([]byte("k"), keyBytes), bytes.Repeat([]byte("v"), valueBytes)
	failed := make(chan error, 1)
	before, began := s.broker.cpu(), time.Now()
	for range n {
		client.Produce(ctx, &kgo.Record{Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return r, err
	}
	r.took, r.broker = time.Since(began), s.broker.cpu()-before
	select {
	case err := <-failed:
		return r, err
	default:
		return r, s.broker.remove(ctx, topic)
	}
}
