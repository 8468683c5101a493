package rest

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/rest/auth"
)

// operation is what is to be said of a route beyond what the table of routes says. Bodies
// are given by a value of their type, from which the schema follows.
type operation struct {
	summary string
	query   []parameter
	body    any            // Nil for none.
	answers map[int]any    // By status; nil for no body.
	media   map[int]string // Of answers that are no JSON.
}

// parameter is one of a query: its name, what it holds ("string", "integer", "boolean"), and
// what for. One whose kind ends with [] may come several times.
type parameter struct{ name, kind, about string }

// either is a body of one of several types, and text one that is no JSON.
type (
	either []any
	text   string
)

// document is an OpenAPI document that is being made.
type document struct {
	s       *Server
	schemas map[string]any
	names   map[reflect.Type]string
}

type object = map[string]any

// openAPI answers with a description of all routes, made from their table.
func (s *Server) openAPI(*http.Request) (answer, error) { return ok(s.describe()) }

func (s *Server) describe() object {
	d := &document{s: s, schemas: object{}, names: map[reflect.Type]string{}}
	said, paths := operations(), object{}
	for _, r := range s.routes() {
		path, inPath := pathOf(r.path)
		all, there := paths[path].(object)
		if !there {
			all = object{}
			paths[path] = all
		}
		all[strings.ToLower(r.method)] = d.operation(r, said[r.method+" "+r.path], inPath)
	}
	schemes := object{
		"basic": object{"type": "http", "scheme": "basic"}, "bearer": object{"type": "http", "scheme": "bearer"}, "certificate": object{"type": "mutualTLS"},
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Tidemill", "version": s.o.Herder.Info().Version,
			"description": "Kafka Connect's REST interface, ksqlDB's, and what is Tidemill's own. Every error is {\"error_code\":status,\"message\":text}; the message ends with what puts it right.",
		},
		"paths":      paths,
		"components": object{"schemas": d.schemas, "securitySchemes": schemes},
	}
}

// pathOf writes a route's path as OpenAPI does, and returns the names in it.
func pathOf(pattern string) (path string, names []string) {
	path = strings.ReplaceAll(strings.TrimSuffix(pattern, "{$}"), "...}", "}")
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return path, names
}

func (d *document) operation(r route, o operation, inPath []string) object {
	parameters := []any{}
	for _, name := range inPath {
		parameters = append(parameters, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range o.query {
		schema := object{"type": strings.TrimSuffix(p.kind, "[]")}
		if strings.HasSuffix(p.kind, "[]") {
			schema = object{"type": "array", "items": schema}
		}
		parameters = append(parameters, object{"name": p.name, "in": "query", "description": p.about, "schema": schema})
	}
	scope := "the connector"
	switch {
	case r.whole:
		scope = "all connectors"
	case !slices.Contains(inPath, "name"):
		scope = "some connector"
	}
	out := object{
		"summary": o.summary, "tags": []string{tagOf(r.path)}, "parameters": parameters, "responses": d.responses(r, o, inPath),
		"description": "Needs the role " + r.role.String() + " for " + scope + ".", "x-tidemill-role": r.role.String(),
	}
	if r.role == auth.Worker {
		out["description"] = "Workers of the group ask this of each other, with a signature."
	}
	if d.s.Asks() && r.role != auth.Worker {
		out["security"] = []any{object{"basic": []any{}}, object{"bearer": []any{}}, object{"certificate": []any{}}}
	}
	if o.body != nil {
		out["requestBody"] = object{"required": true, "content": d.content(o.body, "")}
	}
	return out
}

// tagOf is the first word of a path.
func tagOf(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if first == "" || first == "{$}" {
		return "worker"
	}
	return first
}

// responses are the answers that are given, and the errors that may be.
func (d *document) responses(r route, o operation, inPath []string) object {
	all := object{"default": d.failure("Another error")}
	for _, e := range failures(r, o, inPath, d.s.Asks()) {
		all[strconv.Itoa(e.status)] = d.failure(e.about)
	}
	for status, body := range o.answers {
		answer := object{"description": http.StatusText(status)}
		if body != nil {
			answer["content"] = d.content(body, o.media[status])
		}
		all[strconv.Itoa(status)] = answer
	}
	return all
}

func (d *document) failure(about string) object {
	return object{"description": about, "content": d.content(errorBody{}, "")}
}

// failures are the errors that a route may answer with, which follow from its kind.
func failures(r route, o operation, inPath []string, asks bool) (all []struct {
	status int
	about  string
}) {
	add := func(when bool, status int, about string) {
		if when {
			all = append(all, struct {
				status int
				about  string
			}{status, about})
		}
	}
	writes := r.method != http.MethodGet
	add(o.body != nil || len(o.query) > 0, http.StatusBadRequest, "The request is not as it should be")
	add(asks, http.StatusUnauthorized, "Nobody has shown who asks")
	add(asks || r.role == auth.Worker, http.StatusForbidden, "Who asks may not do this")
	add(len(inPath) > 0, http.StatusNotFound, "There is no such thing")
	add(writes, http.StatusConflict, "It exists already, or something else is being done")
	add(o.body != nil, http.StatusRequestEntityTooLarge, "The body is larger than rest.max.body.bytes")
	add(o.body != nil, http.StatusUnsupportedMediaType, "The body is not said to be JSON")
	add(true, http.StatusInternalServerError, "It did not work, or not in time")
	add(true, http.StatusServiceUnavailable, "The worker starts, or has too much to do")
	return all
}

func (d *document) content(body any, media string) object {
	if media == "" {
		media = "application/json"
	}
	if page, ok := body.(text); ok {
		return object{string(page): object{"schema": object{"type": "string"}}}
	}
	if several, ok := body.(either); ok {
		var list []any
		for _, one := range several {
			list = append(list, d.schema(reflect.TypeOf(one)))
		}
		return object{media: object{"schema": object{"oneOf": list}}}
	}
	return object{media: object{"schema": d.schema(reflect.TypeOf(body))}}
}

// schema describes a type as it is written in JSON.
func (d *document) schema(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[scalar]():
		return object{"type": []string{"string", "number", "boolean", "null"}}
	case t == reflect.TypeFor[json.RawMessage](), t.Kind() == reflect.Interface, t.Implements(reflect.TypeFor[json.Marshaler]()):
		return object{}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Pointer:
		return orNull(d.schema(t.Elem()))
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Struct:
		return object{"$ref": "#/components/schemas/" + d.component(t)}
	}
	return object{"type": "integer"}
}

// orNull is a schema that takes null too.
func orNull(s object) object {
	if kind, ok := s["type"].(string); ok {
		s = maps.Clone(s)
		s["type"] = []string{kind, "null"}
		return s
	}
	if len(s) == 0 {
		return s
	}
	return object{"oneOf": []any{s, object{"type": "null"}}}
}

// component describes a struct under a name of its own.
func (d *document) component(t reflect.Type) string {
	if name, known := d.names[t]; known {
		return name
	}
	name := strings.TrimSuffix(strings.ToUpper(t.Name()[:1])+t.Name()[1:], "Body")
	for _, taken := d.schemas[name]; taken; _, taken = d.schemas[name] {
		name += "_"
	}
	d.names[t] = name
	properties, required := object{}, []string{}
	d.schemas[name] = object{"type": "object", "properties": properties} // Before its fields, which may hold it.
	for _, f := range reflect.VisibleFields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || tag == "-" {
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		of := f.Type
		if strings.Contains(options, "omit") {
			// What is absent when it is empty is never null.
			for of.Kind() == reflect.Pointer {
				of = of.Elem()
			}
		} else {
			required = append(required, tag)
		}
		properties[tag] = d.schema(of)
	}
	d.schemas[name] = object{"type": "object", "properties": properties, "required": required}
	return name
}
