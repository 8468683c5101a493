//go:build netns

package bankstorm

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/testenv/netns"
	"github.com/tidemill/tidemill/torture/chaos"
)

// TestNetworkStorm tortures three workers on machines of their own: each is cut off for
// less than others wait for it, and for more, in both directions and in one. Nothing is
// wrong, and nothing is left behind.
func TestNetworkStorm(t *testing.T) {
	lan, err := netns.Open()
	if err != nil {
		t.Fatal(err)
	}
	binary, temp := builtBinary(t), openTemp(t)
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	var plan chaos.Plan
	for n := range uint64(3) {
		// These bits say which worker it is.
		plan = append(plan, chaos.Fault{Class: "w.pull", Hold: 10 * time.Second, Pick: n << 40}, chaos.Fault{Class: "w.deaf", Hold: 10 * time.Second, Pick: n << 40},
			chaos.Fault{Class: "w.deaf", Hold: 2 * time.Second, Pick: n << 40}, chaos.Fault{Class: "w.pull", Hold: 2 * time.Second, Pick: n << 40})
	}
	result, err := Run(ctx, Options{
		Seed: 1, Binary: binary, Out: filepath.Join(temp, "out"), Duration: time.Hour, Patience: 4 * time.Minute, TPS: 50, Copies: true,
		Workers: 3, Lan: lan, Plan: plan,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.OK() || result.Faults != len(plan) || len(result.recoveries) != len(plan) || result.AckSamples == 0 {
		t.Errorf("%s\n%s", result.JSON(), result.Explain())
	}
	if left, err := filepath.Glob(filepath.Join(temp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if _, err := netns.Open(); err != nil {
		t.Errorf("left behind: %v", err)
	}
}
