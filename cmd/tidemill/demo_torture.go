package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/torture/bankstorm"
	"github.com/tidemill/tidemill/torture/chaos"
)

// torture lets everything fail for a while around this very binary, and says whether
// what came of it is right.
func (a *app) torture(ctx context.Context, o demoOptions) error {
	length, err := lengthOf(o.torture)
	if err != nil {
		return badInput(err)
	}
	if o.mode != bankstorm.ExactlyOnce && o.mode != bankstorm.AtLeastOnce {
		return badInput(connect.ConfigError("--mode", "there is no mode %q; use %s or %s", o.mode, bankstorm.ExactlyOnce, bankstorm.AtLeastOnce))
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	result, err := bankstorm.Run(ctx, bankstorm.Options{
		Seed: o.seed, Duration: length, Mode: o.mode, Binary: self, Copies: true, PGBin: o.pgBin, Out: o.keep, Keep: o.keep != "",
		Seen: func(e chaos.Entry) { fmt.Fprintf(a.err, "%8.3f s  %-9s %s\n", e.At, e.Kind, e.Text) },
	})
	if err != nil {
		return err
	}
	if a.json {
		fmt.Fprintln(a.out, result.JSON())
	} else {
		fmt.Fprintln(a.out, result.Line())
	}
	if result.OK() {
		return nil
	}
	fmt.Fprint(a.err, result.Explain())
	return no(&connect.Error{Code: "torture.anomalies", Message: fmt.Sprintf("%d anomalies", len(result.Anomalies)), Mend: "look into " + result.Bundle})
}

// lengthOf reads a duration, or a number of seconds.
func lengthOf(text string) (time.Duration, error) {
	length, err := time.ParseDuration(text)
	if seconds, e := strconv.Atoi(text); e == nil {
		length, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || length <= 0 {
		return 0, connect.ConfigError("--torture", "%q is no duration; write 60s, 5m or a number of seconds", text)
	}
	return length, nil
}
