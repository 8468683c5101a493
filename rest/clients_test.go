package rest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What existing clients ask, in the order and the form in which they ask it, and the parts
// of the answers that they read: kcctl, the usual consoles, and those of the Terraform
// provider and of Strimzi. Each finds a worker on which nothing was done before.
func TestClients(t *testing.T) {
	for _, name := range []string{"kcctl", "kafbat", "akhq", "console", "terraform"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("REST_TEST_TOPIC", "orders")
			play(t, filepath.Join("testdata", "client-"+name+".http"), runWorker(t))
		})
	}
}

// read shows what stands in a JSON text at the places that a client reads: the kinds of
// the values there, or the values themselves where the place ends with =. A place is a
// list of names between dots; [] stands for all elements of a list, * for all of an object.
func read(text, places string) string {
	var whole any
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		return text
	}
	var b strings.Builder
	for place := range strings.FieldsSeq(places) {
		path, shown := strings.CutSuffix(place, "=")
		found := map[string]bool{}
		visit(whole, strings.Split(strings.ReplaceAll(path, "[]", ".[]"), "."), func(v any) {
			if shown {
				found[fmt.Sprint(v)] = true
			} else {
				found[kindOf(v)] = true
			}
		})
		fmt.Fprintf(&b, "%s: %s\n", path, strings.Join(slices.Sorted(maps.Keys(found)), " | "))
	}
	return b.String()
}

func visit(v any, path []string, found func(any)) {
	if len(path) == 0 {
		found(v)
		return
	}
	switch v := v.(type) {
	case []any:
		if path[0] == "[]" {
			for _, one := range v {
				visit(one, path[1:], found)
			}
			return
		}
	case map[string]any:
		if path[0] == "*" {
			for _, one := range v {
				visit(one, path[1:], found)
			}
			return
		}
		if one, ok := v[path[0]]; ok {
			visit(one, path[1:], found)
			return
		}
	}
	if path[0] == "" {
		visit(v, path[1:], found)
		return
	}
	found(absent{})
}

// absent stands for what is not there.
type absent struct{}

func kindOf(v any) string {
	switch v.(type) {
	case absent:
		return "absent"
	case nil:
		return "null"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "list"
	}
	return "object"
}
