// Command tidemill moves changes from PostgreSQL into Kafka, derives tables from
// them and answers queries: Kafka Connect, Debezium, Kafka Streams and ksqlDB in one
// binary. `tidemill help` lists its commands; `tidemill demo` shows all of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tidemill/tidemill/streams/gctuner"
)

// version is set when a release is linked.
var version = "0.1.0-dev"

// The exit codes. The worst of many wins.
const (
	exitOK          = 0
	exitInternal    = 1   // Something in tidemill went wrong.
	exitBadInput    = 2   // Usage, invalid configuration or SQL, no such thing.
	exitEnvironment = 3   // A server, database or broker cannot be reached or used.
	exitNo          = 4   // It ran, but the answer is no: a check failed.
	exitInterrupted = 130 // A second interrupt ended it at once.
)

func main() {
	gctuner.Start()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings handed in, for tests.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := interruptible(context.Background(), stderr)
	defer stop()
	app := &app{out: stdout, err: stderr}
	root := app.commands()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	app.fail(err)
	return exitCode(err)
}

// app is what the commands share.
type app struct {
	out, err io.Writer
	json     bool // Results as JSON.
	plain    bool // No colours, no glyphs beyond ASCII.
	verbose  bool
}

// exitError is an error that decides the exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// badInput, environment and no give an error its exit code.
func badInput(err error) error    { return &exitError{exitBadInput, err} }
func environment(err error) error { return &exitError{exitEnvironment, err} }
func no(err error) error          { return &exitError{exitNo, err} }

func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitInternal
}

// interruptible returns a context that the first interrupt ends. The second ends
// the process, whatever it is doing.
func interruptible(ctx context.Context, stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
			return
		}
		if s, ok := <-signals; ok {
			fmt.Fprintln(stderr, "stopped at once by a second", s)
			os.Exit(exitInterrupted)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}
