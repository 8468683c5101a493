// Package statetest is the conformance suite of state.DB. Each implementation's
// test calls [Run] with a function that opens it:
//
//	statetest.Run(t, func(dir string) (state.DB, error) {
//		return state.OpenDisk(dir, state.DiskOptions{})
//	})
//
// Durable implementations call [RunDurable] as well.
package statetest
