// Package netns is a lan, as far as one machine can be several: network namespaces with a
// cable each to a bridge in ours. Tests have processes run on such machines, to cut them
// off.
//
// [Open] finds the bridge. It and the namespace that it is in are made by the script
// internal/testenv/netns/run, which runs a program there. [Lan.Plug] makes a [Machine],
// whose cable can be pulled, and which can be made deaf.
//
//	lan, err := netns.Open()
//	…
//	m, err := lan.Plug()
//	…
//	defer m.Close()
//	cmd := m.Command("bin/tidemill", "worker", "-c", file) // It finds us at netns.Address.
//	…
//	mend, err := m.Pull()
//
// Namespaces have no names, so that none is left behind: one is there until Close, or the
// end of who made it, and the end of the processes in it.
package netns
