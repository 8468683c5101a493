package worker

import (
	"fmt"
	"slices"
)

// numbers returns 0:from … 0:to.
func numbers(from, to int) []string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("0:%d", i))
	}
	return list
}

// same tells whether got holds just want, in any order.
func same(got, want []string) bool {
	a, b := slices.Clone(got), slices.Clone(want)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
