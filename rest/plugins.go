package rest

import (
	"encoding/json"
	"net/http"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/worker"
)

func (s *Server) listPlugins(r *http.Request) (answer, error) {
	only := r.URL.Query().Get("connectorsOnly")
	connectorsOnly := only == "" || truth(only)
	all := []worker.PluginInfo{}
	for _, p := range s.o.Herder.Plugins() {
		if !connectorsOnly || p.Type == "source" || p.Type == "sink" {
			all = append(all, p)
		}
	}
	return ok(all)
}

// definition is one setting as Connect describes it.
type definition struct {
	Name          string   `json:"name"`
	Type          string   `json:"type"`
	Required      bool     `json:"required"`
	DefaultValue  *string  `json:"default_value"`
	Importance    string   `json:"importance"`
	Documentation string   `json:"documentation"`
	Group         *string  `json:"group"`
	Width         string   `json:"width"`
	DisplayName   string   `json:"display_name"`
	Dependents    []string `json:"dependents"`
	Order         int      `json:"order"`
}

// value is what validation says of one setting.
type value struct {
	Name              string   `json:"name"`
	Value             *string  `json:"value"`
	RecommendedValues []string `json:"recommended_values"`
	Errors            []string `json:"errors"`
	Visible           bool     `json:"visible"`
	// Warnings are an addition to Connect's shape, and absent when there are none.
	Warnings []string        `json:"warnings,omitempty"`
	Findings json.RawMessage `json:"findings,omitempty"`
}

// checked is a setting and what is to be said of it.
type checked struct {
	Definition definition `json:"definition"`
	Value      value      `json:"value"`
}

// validation is the answer to a validate request.
type validation struct {
	Name       string    `json:"name"`
	ErrorCount int       `json:"error_count"`
	Groups     []string  `json:"groups"`
	Configs    []checked `json:"configs"`
}

// orders counts the settings of each group.
type orders map[string]int

// define describes a setting; its order is its place in its group, and -1 for a
// setting without one, as in Connect.
func (o orders) define(k connect.ConfigKey) definition {
	d := definition{
		Name: k.Name, Type: k.Type.String(), Required: k.Required, Importance: k.Importance.String(), Documentation: k.Doc,
		Width: "NONE", DisplayName: k.DisplayName, Dependents: k.Dependents, Order: -1,
	}
	if k.Group != "" {
		o[k.Group]++
		d.Group, d.Order, d.Width = &k.Group, o[k.Group], "MEDIUM"
	}
	// An absent default is null; text may have the empty text as its default.
	hasDefault := k.Default != "" || k.Type == connect.TypeString || k.Type == connect.TypeList
	if !k.Required && !k.Optional && hasDefault {
		d.DefaultValue = &k.Default
	}
	if d.DisplayName == "" {
		d.DisplayName = k.Name
	}
	if d.Dependents == nil {
		d.Dependents = []string{}
	}
	return d
}

// undeclared describes a setting that nobody declares. Kafka Connect has null in the place;
// there are clients that look up the name of a setting with an error, or its group, and
// break on it.
func undeclared(name string) connect.ConfigKey {
	return connect.ConfigKey{Name: name, Optional: true, Importance: connect.Low, Doc: "Nobody declares this setting."}
}

func (s *Server) pluginConfig(r *http.Request) (answer, error) {
	keys, err := s.o.Herder.PluginConfig(r.PathValue("plugin"), r.URL.Query().Get("version"))
	if err != nil {
		if connect.AsError(err).Code == "plugin.unknown" {
			return answer{}, fail(http.StatusNotFound, "Unknown plugin "+r.PathValue("plugin")+".")
		}
		return answer{}, err
	}
	all := make([]definition, 0, len(keys))
	counted := orders{}
	for _, k := range keys {
		all = append(all, counted.define(k))
	}
	return ok(all)
}

func (s *Server) validate(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	raw, err := config.ParseMap(data)
	if err != nil {
		return answer{}, err
	}
	settings, nulls := config.NonNull(raw)
	// A mask stands for what the connector of this name has, which is tried out.
	if name := settings["name"]; name != "" {
		if err := allowOn(r, auth.Admin, name); err != nil {
			return answer{}, err
		}
	}
	if settings, err = s.unmasked(settings["name"], settings); err != nil {
		return answer{}, err
	}
	v, err := s.o.Herder.Validate(r.Context(), r.PathValue("plugin"), settings)
	if err != nil {
		return answer{}, err
	}
	return ok(s.showValidation(v, nulls))
}

// showValidation writes a validation as Connect does, secrets hidden. Settings that
// were given as null were kept from the check; what is wrong with them is added.
func (s *Server) showValidation(v worker.Validation, nulls connect.Errors) validation {
	out := validation{Name: v.Name, ErrorCount: v.ErrorCount, Groups: v.Groups, Configs: make([]checked, 0, len(v.Configs))}
	if out.Groups == nil {
		out.Groups = []string{}
	}
	null := map[string]string{}
	for _, e := range nulls {
		null[e.Place] = e.Message
	}
	counted := orders{}
	for _, c := range v.Configs {
		key := undeclared(c.Value.Name)
		if c.Key != nil {
			key = *c.Key
		}
		one := checked{Definition: counted.define(key), Value: s.showValue(c)}
		if message, was := null[c.Value.Name]; was {
			if len(c.Value.Errors) == 0 {
				out.ErrorCount++
			}
			one.Value.Value, one.Value.Errors = nil, []string{message}
			delete(null, c.Value.Name)
		}
		out.Configs = append(out.Configs, one)
	}
	for _, e := range nulls {
		if message, left := null[e.Place]; left {
			out.ErrorCount++
			out.Configs = append(out.Configs, checked{
				Definition: counted.define(undeclared(e.Place)),
				Value:      value{Name: e.Place, RecommendedValues: []string{}, Errors: []string{message}, Visible: true},
			})
		}
	}
	return out
}

func (s *Server) showValue(c worker.ValidatedConfig) value {
	v := value{Name: c.Value.Name, Value: c.Value.Value, RecommendedValues: c.Value.Recommended, Errors: []string{}, Visible: c.Value.Visible}
	if v.Value != nil && *v.Value != "" {
		shown := config.Mask(connect.Config{v.Name: *v.Value}, nil)[v.Name]
		if shown == config.Masked || c.Key != nil && c.Key.Type == connect.TypePassword {
			shown = "[hidden]"
		}
		v.Value = &shown
	}
	if v.RecommendedValues == nil {
		v.RecommendedValues = []string{}
	}
	for _, text := range c.Value.Errors {
		v.Errors = append(v.Errors, s.redact(text))
	}
	for _, text := range c.Value.Warnings {
		v.Warnings = append(v.Warnings, s.redact(text))
	}
	if text := s.redact(string(c.Value.Findings)); text != "" && json.Valid([]byte(text)) {
		v.Findings = json.RawMessage(text)
	}
	return v
}
