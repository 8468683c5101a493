package worker

import (
	"cmp"
	"maps"
	"slices"
)

// share is what one worker of a group runs: some connectors, and some tasks, not
// necessarily of those connectors.
type share struct {
	connectors []string
	tasks      []TaskID
}

// has tells whether the share holds a task.
func (s share) has(id TaskID) bool { return slices.Contains(s.tasks, id) }

// assign divides connectors (by name, with their numbers of tasks) among the members
// of a group. It is a pure function: the assignment is everything a group decides.
//
// What a member ran before stays with it as far as balance allows. Connectors and
// tasks are balanced each by themselves, so that no member has two more than
// another; and the tasks of one connector go to members that have the fewest of
// them, so that losing a member does not stop a connector altogether.
func assign(members []string, connectors map[string]int, previous map[string]share) map[string]share {
	if len(members) == 0 {
		return nil
	}
	members = slices.Sorted(slices.Values(members))
	names := slices.Sorted(maps.Keys(connectors))
	var tasks []TaskID
	for _, name := range names {
		for i := range connectors[name] {
			tasks = append(tasks, TaskID{name, i})
		}
	}
	formerConnectors, formerTasks := map[string][]string{}, map[string][]TaskID{}
	for m, s := range previous {
		formerConnectors[m], formerTasks[m] = s.connectors, s.tasks
	}
	byName := divide(members, names, formerConnectors, func(name string) string { return name })
	byTask := divide(members, tasks, formerTasks, func(id TaskID) string { return id.Connector })
	result := make(map[string]share, len(members))
	for _, m := range members {
		result[m] = share{connectors: byName[m], tasks: byTask[m]}
	}
	return result
}

// divide gives each item to one member. kind groups items that should be spread.
func divide[T comparable](members []string, items []T, former map[string][]T, kind func(T) string) map[string][]T {
	least, extra := len(items)/len(members), len(items)%len(members)
	held := map[string][]T{}
	kinds := map[string]map[string]int{}
	give := func(m string, item T) {
		held[m] = append(held[m], item)
		if kinds[m] == nil {
			kinds[m] = map[string]int{}
		}
		kinds[m][kind(item)]++
	}
	free := map[T]bool{}
	for _, item := range items {
		free[item] = true
	}
	for _, m := range members {
		for _, item := range former[m] {
			// A member may keep what balance allows: some may have one more than the rest.
			full := len(held[m]) > least || len(held[m]) == least && extra == 0
			if !free[item] || full {
				continue
			}
			if len(held[m]) == least {
				extra--
			}
			free[item] = false
			give(m, item)
		}
	}
	for _, item := range items {
		if !free[item] {
			continue
		}
		m := slices.MinFunc(members, func(a, b string) int {
			return cmp.Or(
				cmp.Compare(len(held[a]), len(held[b])),
				cmp.Compare(kinds[a][kind(item)], kinds[b][kind(item)]),
				cmp.Compare(a, b),
			)
		})
		give(m, item)
	}
	return held
}
