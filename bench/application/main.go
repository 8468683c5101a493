// Command application is an application of the streams engine, or a bare loop, that the
// benchmark starts and measures. See package bench/apps.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/tidemill/tidemill/bench/apps"
)

func main() {
	// As cmd/tidemill does, and README.md advises: what a streams application makes is
	// mostly garbage that lives shortly. Collecting it sooner costs little processor time.
	const collectAt = 60
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := apps.Run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "application:", err)
		os.Exit(1)
	}
}
