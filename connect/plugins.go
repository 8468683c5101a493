package connect

import (
	"slices"
	"strings"
)

// Plugin is one entry of the list of plugins: its names, its settings and how to
// make one. T is the interface it implements.
type Plugin[T any] struct {
	// Class is the name users write and REST answers with. Where a plugin stands in
	// for a Java class, that class's name is Class.
	Class string
	// Aliases are further names for it. The last part of each name, with and without
	// its suffix (Connector, Converter, …), is understood without being listed.
	Aliases []string
	Version string
	Doc     string
	Config  *ConfigDef // The plugin's own settings; nil for none.
	New     func() T
}

// Plugins are all the plugins a worker knows. It is a value, put together in one
// place and never changed after.
type Plugins struct {
	Sources          []Plugin[SourceConnector]
	Sinks            []Plugin[SinkConnector]
	Transforms       []Plugin[Transform]
	Predicates       []Plugin[Predicate]
	Converters       []Plugin[Converter]
	HeaderConverters []Plugin[HeaderConverter]
}

// suffixes are what may be left off a simple class name.
var suffixes = []string{"SourceConnector", "SinkConnector", "Connector", "HeaderConverter", "Converter", "Transformation", "Predicate"}

// FindPlugin returns the plugin that class names: by its full name, an alias, the
// last part of one of them, or that part without its suffix. A short name that
// could mean two plugins means none. The error suggests the nearest name.
func FindPlugin[T any](list []Plugin[T], class string) (Plugin[T], error) {
	for _, p := range list {
		if p.Class == class || slices.Contains(p.Aliases, class) {
			return p, nil
		}
	}
	var found []Plugin[T]
	for _, p := range list {
		if slices.Contains(p.shortNames(), class) {
			found = append(found, p)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	var none Plugin[T]
	e := &Error{Code: "plugin.unknown", Class: ClassConfig, Place: class, Message: "no plugin has this class or alias"}
	if len(found) > 1 {
		e.Message = "this alias could mean " + found[0].Class + " or " + found[1].Class
		e.Mend = "write the full class name"
		return none, e
	}
	var names []string
	for _, p := range list {
		names = append(append(names, p.Class), p.shortNames()...)
	}
	if near := Nearest(class, names); near != "" {
		e.Mend = "did you mean " + near + "?"
	} else {
		e.Mend = "GET /connector-plugins?connectorsOnly=false lists what there is"
	}
	return none, e
}

// shortNames returns the names that are understood without being listed.
func (p Plugin[T]) shortNames() []string {
	var names []string
	for _, full := range append([]string{p.Class}, p.Aliases...) {
		simple := full[strings.LastIndexByte(full, '.')+1:]
		names = append(names, simple)
		for _, suffix := range suffixes {
			if short, ok := strings.CutSuffix(simple, suffix); ok && short != "" {
				names = append(names, short)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Nearest returns the candidate closest to word by edit distance, ignoring case,
// or "" when none is close enough to be what was meant.
func Nearest(word string, candidates []string) string {
	best, limit := "", max(2, len(word)/4)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(word), strings.ToLower(c)); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's, over bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
