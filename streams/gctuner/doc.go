// Package gctuner has Go's collector run less often where it would run all the time. What
// streams applications and connectors make is mostly garbage that lives shortly, and little
// stays: the default, to collect once the heap has grown by as much as is alive, collects a
// heap of 10 MB fifty times a second, for a fifth of all processor time.
//
// A tuned process lets the heap grow by more while it collects often, and by less than Go's
// default when it does not, so that an idle process stays small.
//
//	func main() {
//		gctuner.Start()
//		…
//	}
package gctuner
