package rest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/rest"
)

// described is the description of a server that has all routes, as clients read it.
var described = sync.OnceValue(func() map[string]any {
	o := everything()
	settings, err := rest.ConfigDef().Parse(nil)
	o.Settings, o.Herder = settings, newStandIn()
	made, wrong := rest.Describe(o)
	text, failed := json.Marshal(made)
	var doc map[string]any
	if err := errors.Join(err, wrong, failed, json.Unmarshal(text, &doc)); err != nil {
		panic(err)
	}
	return doc
})

// at follows names into a JSON value, nil where there is nothing.
func at(v any, names ...string) any {
	for _, name := range names {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// Every route is described, with the role it needs, and nothing else is.
func TestEveryRouteIsDescribed(t *testing.T) {
	said := rest.Operations()
	for _, route := range rest.Routes(everything()) {
		key := route.Method + " " + route.Path
		if !said[key] {
			t.Errorf("%s is not described: say in operations.go what it is for", key)
		}
		delete(said, key)
		path := strings.ReplaceAll(strings.TrimSuffix(route.Path, "{$}"), "...}", "}")
		operation := at(described(), "paths", path, strings.ToLower(route.Method))
		if got := at(operation, "x-tidemill-role"); got != route.Role.String() {
			t.Errorf("%s: the role is %v, not %s", key, got, route.Role)
		}
		if parameters, _ := at(operation, "parameters").([]any); len(parameters) < strings.Count(path, "{") {
			t.Errorf("%s: parameters of the path are missing: %v", key, parameters)
		}
		answers, _ := at(operation, "responses").(map[string]any)
		if answers["500"] == nil || answers["default"] == nil || len(answers) < 3 {
			t.Errorf("%s: answers or errors are missing: %v", key, answers)
		}
	}
	for key := range said {
		t.Errorf("operations.go describes %s, which is no route", key)
	}
}

// The description is there for those who may look at something, and holds what was set.
func TestDescriptionIsServed(t *testing.T) {
	base := serve(t, people, nil)
	if status, _ := ask(t, "GET", base+"/openapi.json", "", ""); status != http.StatusUnauthorized {
		t.Errorf("for nobody: %d", status)
	}
	status, body := ask(t, "GET", base+"/openapi.json", "looker", "")
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil || status != http.StatusOK {
		t.Fatalf("%d %v %s", status, err, body)
	}
	if doc["openapi"] != "3.1.0" || at(doc, "paths", "/ksql") != nil || at(doc, "paths", "/connectors", "get", "security") == nil {
		t.Errorf("it is %.600s", body)
	}
}

// agree reports where an answer is not as the description says.
func (e exchange) agree(t *testing.T, status int, media, body string) {
	t.Helper()
	path, _, _ := strings.Cut(e.path, "?")
	method := e.method
	if method == http.MethodHead || method == http.MethodOptions {
		return // The one has no body, and browsers ask the other of each path.
	}
	operation := find(path, strings.ToLower(method))
	if operation == nil {
		if status < http.StatusBadRequest {
			t.Errorf("%s: %s %s is answered with %d and not described", e.title, e.method, e.path, status)
		}
		return
	}
	answers := at(operation, "responses").(map[string]any)
	answer, known := answers[strconv.Itoa(status)]
	if !known && status < http.StatusBadRequest {
		t.Errorf("%s: %s %s is answered with %d, which the description does not know", e.title, e.method, e.path, status)
	}
	if !known {
		answer = answers["default"]
	}
	content, _ := at(answer, "content").(map[string]any)
	media, _, _ = strings.Cut(media, ";")
	if content == nil {
		if body != "" && media == "application/json" {
			t.Errorf("%s: a body that is not described: %s", e.title, body)
		}
		return
	}
	if media != "application/json" || content[media] == nil || strings.HasPrefix(path, "/ksql") || strings.HasPrefix(path, "/query") || strings.HasPrefix(path, "/close-query") || path == "/subscribe" {
		return
	}
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Errorf("%s: %v", e.title, err)
		return
	}
	if fault := fits(at(content[media], "schema"), v, "answer"); fault != "" {
		t.Errorf("%s: %s %s, %d: %s", e.title, e.method, e.path, status, fault)
	}
}

// find returns what is said of a path, nil when it is not described.
func find(path, method string) any {
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for pattern, operations := range described()["paths"].(map[string]any) {
		wanted := strings.Split(strings.TrimSuffix(pattern, "/"), "/")
		rest := strings.HasSuffix(pattern, "{path}")
		same := len(wanted) == len(parts) || rest && len(parts) >= len(wanted)-1
		for i := 0; same && i < min(len(wanted), len(parts)); i++ {
			same = wanted[i] == parts[i] || strings.HasPrefix(wanted[i], "{") && (rest || parts[i] != "")
		}
		// A name may be one that another path has as a word: the shorter way wins.
		if operation := at(operations, method); same && operation != nil && (strings.Count(pattern, "{") == 0 || !exact(path, method)) {
			return operation
		}
	}
	return nil
}

// exact tells whether there is a path of just these words.
func exact(path, method string) bool {
	return at(described(), "paths", strings.TrimSuffix(path, "/"), method) != nil
}

// fits tells where a value is not as a schema says, "" when it is. Objects have no other
// properties than those the schema names.
func fits(schema, v any, place string) string {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		return fits(at(described(), "components", "schemas", ref[strings.LastIndexByte(ref, '/')+1:]), v, place)
	}
	if several, ok := s["oneOf"].([]any); ok {
		var faults []string
		for _, one := range several {
			fault := fits(one, v, place)
			if fault == "" {
				return ""
			}
			faults = append(faults, fault)
		}
		return strings.Join(faults, "; or ")
	}
	if !hasKind(s["type"], v) {
		return fmt.Sprintf("%s is %.80v, not %v", place, v, s["type"])
	}
	switch v := v.(type) {
	case []any:
		for i, one := range v {
			if fault := fits(s["items"], one, fmt.Sprintf("%s[%d]", place, i)); fault != "" {
				return fault
			}
		}
	case map[string]any:
		return fitsObject(s, v, place)
	}
	return ""
}

func fitsObject(s, v map[string]any, place string) string {
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, there := v[name.(string)]; !there {
			return fmt.Sprintf("%s has no %v", place, name)
		}
	}
	properties, closed := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(v)) {
		schema, known := properties[name]
		if !known {
			schema = s["additionalProperties"]
		}
		if closed && !known && schema == nil {
			return fmt.Sprintf("%s has %s, which is not described", place, name)
		}
		if fault := fits(schema, v[name], place+"."+name); fault != "" {
			return fault
		}
	}
	return ""
}

// hasKind tells whether a value is of a type, or one of several. No type is any.
func hasKind(kind, v any) bool {
	switch kind := kind.(type) {
	case []any:
		return slices.ContainsFunc(kind, func(one any) bool { return hasKind(one, v) })
	case string:
		switch v := v.(type) {
		case nil:
			return kind == "null"
		case string:
			return kind == "string"
		case bool:
			return kind == "boolean"
		case float64:
			return kind == "number" || kind == "integer" && v == math.Trunc(v)
		case []any:
			return kind == "array"
		default:
			return kind == "object"
		}
	}
	return true
}
