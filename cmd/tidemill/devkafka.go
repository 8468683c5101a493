package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/internal/devstack"
)

func (a *app) devKafkaCommand() *cobra.Command {
	var o devstack.KafkaOptions
	var faults string
	cmd := &cobra.Command{
		Use:     "dev-kafka",
		Short:   "Run only the embedded Kafka broker",
		Long:    "Runs the embedded Kafka broker of `tidemill dev` in a process of its own. It is a single node for development and tests, not for production.",
		Example: "  tidemill dev-kafka --port 9092 --data-dir ./kafka-data",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.devKafka(cmd.Context(), o, faults)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Port, "port", 9092, "port of the broker")
	f.StringVar(&o.Dir, "data-dir", "tidemill-kafka", "directory that keeps its data")
	// What follows is for torture, which wants to be between the broker and its clients.
	f.StringVar(&o.Advertise, "advertise", "", "for tests: the host:port that the broker names as its own")
	f.StringVar(&faults, "faults", "", "for tests: host:port on which it is told what to refuse, as POST /fail {\"api\",\"code\",\"times\",\"ms\",\"topic\"}")
	for _, name := range []string{"advertise", "faults"} {
		_ = f.MarkHidden(name) // The flag exists: it was made above.
	}
	return cmd
}

func (a *app) devKafka(ctx context.Context, o devstack.KafkaOptions, faults string) error {
	broker, err := devstack.StartKafka(o)
	if err != nil {
		return environment(err)
	}
	defer broker.Stop()
	fmt.Fprintf(a.err, "Kafka at %s (embedded, not for production), data in %s\n", strings.Join(broker.Brokers(), ","), o.Dir)
	if faults == "" {
		<-ctx.Done()
		return nil
	}
	return serveFaults(ctx, faults, broker)
}

// serveFaults takes orders of what the broker shall refuse until ctx is done.
func serveFaults(ctx context.Context, address string, broker *devstack.Kafka) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return environment(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fail", func(w http.ResponseWriter, r *http.Request) {
		var order struct {
			API   string
			Code  int16
			Times int
			MS    int64
			Topic string
		}
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&order)
		if err == nil {
			err = broker.Fail(order.API, order.Code, order.Times, time.Duration(order.MS)*time.Millisecond, order.Topic)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); ctx.Err() == nil {
		return environment(err)
	}
	return nil
}
