package config

import (
	"path/filepath"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Connector is the definition of a connector as a file or a request states it.
type Connector struct {
	Name   string
	Config connect.Config
	// InitialState is RUNNING, PAUSED, STOPPED or empty, as written.
	InitialState string
	// Place is the file and, where known, the line it stands at.
	Place string
}

// LoadConnectors reads connector files in the order given. All faults of all files
// are reported at once.
func LoadConnectors(paths ...string) ([]Connector, error) {
	var all []Connector
	var faults connect.Errors
	for _, path := range paths {
		data, err := readFile(path)
		if err == nil {
			var some []Connector
			some, err = ParseConnectors(path, data)
			all = append(all, some...)
		}
		faults = append(faults, Faults(err)...)
	}
	seen := map[string]string{}
	for _, c := range all {
		if other, twice := seen[c.Name]; twice {
			faults = append(faults, fault("config.duplicate", c.Place, "the connector %s is already defined in %s", c.Name, other))
		}
		seen[c.Name] = c.Place
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return all, nil
}

// ParseConnectors reads the connectors of one file; name tells the format by its
// ending (.properties, .yaml, .yml; anything else is JSON) and is used in errors. A
// connector whose definition has no name takes the file's.
func ParseConnectors(name string, data []byte) ([]Connector, error) {
	var docs []*node
	var err error
	switch format(name) {
	case ".properties":
		return propertiesConnector(name, data)
	case ".yaml", ".yml":
		docs, err = parseYAML(name, data)
	default:
		docs = make([]*node, 1)
		docs[0], err = parseJSON(name, data)
	}
	if err != nil {
		return nil, err
	}
	var all []Connector
	var faults connect.Errors
	for _, doc := range docs {
		items := []*node{doc}
		if doc.kind == isList {
			items = doc.items
		}
		for _, item := range items {
			c, err := connectorOf(name, item)
			faults = append(faults, Faults(err)...)
			if c.Name == "" && len(docs) == 1 && doc.kind != isList {
				c.Name = fileStem(name)
			}
			if err == nil && c.Name == "" {
				faults = append(faults, fault("config.invalid", c.Place, "the connector has no name"))
			}
			all = append(all, c)
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return all, nil
}

func propertiesConnector(name string, data []byte) ([]Connector, error) {
	settings, err := parseProperties(name, data)
	if err != nil {
		return nil, err
	}
	c := Connector{Name: strings.TrimSpace(settings["name"]), Config: settings, Place: name}
	if c.Name == "" {
		c.Name = fileStem(name)
	}
	return []Connector{c}, nil
}

// fileStem is the file's name without its folder and ending.
func fileStem(name string) string {
	base := filepath.Base(name)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// Request is the body of POST /connectors.
type Request struct {
	Name         string
	Settings     map[string]*string // Nil when the body has no config.
	InitialState string
}

// ParseRequest reads the body of POST /connectors: an object with the keys name,
// config and initial_state. Another key is a fault with the code
// "request.unknown_field", as in Connect.
func ParseRequest(data []byte) (Request, error) {
	n, err := parseJSON("", data)
	if err != nil {
		return Request{}, err
	}
	if n.kind != isObject {
		return Request{}, fault("config.shape", at("", n.line), "the request must be an object, this is %s", n.kind)
	}
	for i, key := range n.keys {
		if key != "name" && key != "config" && key != "initial_state" {
			e := fault("request.unknown_field", at("", n.items[i].line), "Unrecognized field %q, the known ones are name, config, initial_state", key)
			return Request{}, e
		}
	}
	return requestOf("", n)
}

func requestOf(name string, n *node) (r Request, err error) {
	texts := []struct {
		key string
		to  *string
	}{{"name", &r.Name}, {"initial_state", &r.InitialState}}
	for _, t := range texts {
		item := n.field(t.key)
		if item == nil || item.kind == isNull {
			continue
		}
		if item.kind != isScalar {
			return r, fault("config.shape", at(name, item.line), "%s must be text, this is %s", t.key, item.kind)
		}
		*t.to = strings.TrimSpace(item.text)
	}
	if settings := n.field("config"); settings != nil && settings.kind != isNull {
		r.Settings, err = settingsOf(name, settings)
	}
	return r, err
}

// connectorOf reads a bare object of settings or a request.
func connectorOf(name string, n *node) (Connector, error) {
	c := Connector{Place: at(name, n.line)}
	if n.kind != isObject {
		return c, fault("config.shape", c.Place, "a connector must be an object, this is %s", n.kind)
	}
	request := Request{}
	var err error
	if inner := n.field("config"); inner != nil && inner.kind == isObject {
		request, err = requestOf(name, n)
	} else {
		request.Settings, err = settingsOf(name, n)
	}
	if err != nil {
		return c, err
	}
	settings, nulls := NonNull(request.Settings)
	for _, e := range nulls {
		e.Place = c.Place + ": " + e.Place
	}
	c.Name, c.Config, c.InitialState = request.Name, settings, request.InitialState
	if c.Name == "" {
		c.Name = strings.TrimSpace(settings["name"])
	}
	return c, nulls.OrNil()
}
