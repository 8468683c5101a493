// Package query reads the stores of running applications from outside. [Rows]
// reads one store, by key, by range or as a whole, always as of some commit;
// a [Subscription] follows its changes, if wanted after a snapshot, without a gap
// between the two. Neither holds processing back: a subscriber that falls too far
// behind is cut off and told so.
//
// Where the processes of an application know of each other, Rows reads those of all: a
// [Remote] says how they ask each other, over HTTP, one question for each partition. What
// may go away by itself is tried again for a while, and is otherwise an error of class
// connect.ClassRetriable. [Bounds] say how stale an answer may be, and what it must have
// seen:
//
//	seen := query.Position{}
//	rows = rows.Within(query.Bounds{MaxLag: 100, AtLeast: seen, Seen: seen})
//
// reads from copies at most 100 changes behind, and never goes back in time.
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
