// Package failpoint marks the places at which a crash, a delay or a fault would be
// most telling: the boundaries of the invariants. The code calls
//
//	failpoint.At("worker.offsets.stored")
//	if err := failpoint.Fail("worker.offsets.store"); err != nil { return err }
//
// In an ordinary build both are empty functions, which the compiler takes out. Under
// the build tag failpoint the environment says what happens at which pass:
//
//	TIDEMILL_FAILPOINT="worker.offsets.stored=kill@3;stream.report=stop:500ms"
//
// with the actions
//
//	kill      the process sends itself SIGKILL
//	stop:D    the goroutine stands still for the duration D (500ms, 2s)
//	error     Fail returns an error; At does nothing
//	count     nothing but the note that the place was passed
//
// and, behind @, at which pass: @3 the third of this process, the first when nothing is
// said. A point that is named several times does one thing at a pass, the first of those
// that are due. TIDEMILL_FAILPOINT=@file has all this read from a file, and read anew
// when there is another one in its place: then the passes are counted from there. Who
// writes it puts it there whole, by renaming. With TIDEMILL_FAILPOINT_DIR=<directory> a
// point acts only if it can make a file there, called as the point, a sign = and the
// action's name: so it acts once over all restarts of a process, and whoever watches
// sees that it did.
//
// Points lists all names. A test keeps the list and the code the same.
package failpoint
