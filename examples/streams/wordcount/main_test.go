package main

import (
	"bufio"
	"context"
	"io"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestRun runs the example as its main does, and waits for what it prints.
func TestRun(t *testing.T) {
	brokers := devstack.TestKafka(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, brokers, t.TempDir(), w)
		w.CloseWithError(err)
		done <- err
	}()
	left := map[string]bool{"[counts]: the, 4": true, "[counts]: mill, 2": true, "[counts]: tide, 1": true, "[counts]: when, 2": true}
	seen := bufio.NewScanner(r)
	for len(left) > 0 && seen.Scan() {
		delete(left, seen.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // What still comes must not hold it up.
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(left) > 0 {
		t.Errorf("never printed: %v", left)
	}
}
