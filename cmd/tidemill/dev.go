package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) devCommand() *cobra.Command {
	o := devOptions{said: func(what, detail string, took time.Duration) { a.say(a.err, what, detail, took) }}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a worker with an embedded Kafka and schema registry on fixed ports",
		Long: `Runs a worker together with an in-process Kafka broker and schema registry, on fixed ports, so that any
client can connect: kcat, Kafka UIs, curl, psql. Everything is kept in --data-dir; started on it again, even after
kill -9, the stack goes on where it was. The broker is a single node for development, not for production.`,
		Example: `  tidemill dev
  tidemill dev --data-dir ./data --rest-port 8083 --kafka-port 9092 --registry-port 8081
  curl -s -X POST -H 'Content-Type: application/json' -d @register-postgres.json http://127.0.0.1:8083/connectors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dev(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "data-dir", "tidemill-data", "directory that keeps everything")
	f.IntVar(&o.restPort, "rest-port", 8083, "port of the REST interface")
	f.IntVar(&o.kafkaPort, "kafka-port", 9092, "port of the Kafka broker")
	f.IntVar(&o.registryPort, "registry-port", 8081, "port of the schema registry")
	f.IntVar(&o.pgwirePort, "pgwire-port", 5433, "port at which psql and other clients of PostgreSQL ask the SQL engine; 0 for none")
	return cmd
}

func (a *app) dev(ctx context.Context, o devOptions) error {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return environment(err)
	}
	o.log = a.logger()
	stack, err := newDevStack(ctx, o)
	if err != nil {
		return err
	}
	defer stack.stop()
	ready, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // Tells when the worker is ready; ends with the stack.
		defer close(done)
		_ = stack.ready(ready)
	}()
	err = stack.Run(ctx)
	cancel()
	<-done
	return err
}
