// Package mutants asks who guards the guards: it builds the worker with one seeded bug
// at a time and sees whether the torture of package bankstorm finds it.
//
//	mutant.go     what a mutant is: texts of the product's files and what they become
//	bugs_*.go     the mutants, by what they break
//	overlay.go    the mutant applied and built, without a change of any file
//	run.go        each one built, tried and counted
//	hunt.go       one tortured until the first anomaly
//
// A mutant is not a branch in shipped code: it is a text that stands exactly once in a
// file and another one that takes its place in a build of its own (go build -overlay).
// A test makes sure that each still applies and compiles. What survives points at a
// hole in the workload or in the oracles.
package mutants
