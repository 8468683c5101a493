// Package query reads the stores of running applications from outside. [Rows]
// reads one store, by key, by range or as a whole, always as of some commit;
// a [Subscription] follows its changes, if wanted after a snapshot, without a gap
// between the two. Neither holds processing back: a subscriber that falls too far
// behind is cut off and told so.
//
// A [Hub] is the other side. Whoever commits does it inside [Hub.Step], which
// makes the commit and the news of it one step for those who subscribe.
//
//	err := hub.Step(func(f *query.Feed) error {
//		if err := batch.Commit(); err != nil {
//			return err
//		}
//		f.Push("counts", query.Row{Key: key, Value: value, Time: ms})
//		return nil
//	})
package query
