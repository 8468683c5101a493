// Command application is an application of the streams engine, or a bare loop, that the
// benchmark starts and measures. See package bench/apps.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tidemill/tidemill/bench/apps"
	"github.com/tidemill/tidemill/streams/gctuner"
)

func main() {
	gctuner.Start() // As cmd/tidemill does, and README.md advises.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := apps.Run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "application:", err)
		os.Exit(1)
	}
}
