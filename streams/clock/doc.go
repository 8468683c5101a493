// Package clock names the times of stream processing: those that records have, and those
// by which punctuations go.
//
//	orders := streams.From(b, "orders", key, value, streams.With{Timestamps: clock.SkipInvalid})
//	cancel, err := c.Schedule(time.Minute, clock.WallClock, flush)
package clock
