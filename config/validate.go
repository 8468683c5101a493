package config

import (
	"errors"

	"github.com/tidemill/tidemill/connect"
)

// Faults returns the single faults in err: the parts of [connect.Errors] and of
// joined errors, each as [connect.AsError] sees it. It returns nil for nil.
func Faults(err error) connect.Errors {
	if err == nil {
		return nil
	}
	if e, single := err.(*connect.Error); single {
		return connect.Errors{e}
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var all connect.Errors
		for _, one := range several.Unwrap() {
			all = append(all, Faults(one)...)
		}
		return all
	}
	if several, ok := errors.AsType[connect.Errors](err); ok {
		return several
	}
	return connect.Errors{connect.AsError(err)}
}

// Messages returns what is to be said to a person about each fault in err: the
// message, its cause and the mend, without code and place.
func Messages(err error) []string {
	var all []string
	for _, e := range Faults(err) {
		said := *e
		said.Code, said.Place = "", ""
		all = append(all, said.Error())
	}
	return all
}
