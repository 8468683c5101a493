package worker

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Create checks the configuration and creates a connector.
func (h *Herder) Create(ctx context.Context, r CreateRequest) (ConnectorInfo, error) {
	name := strings.TrimSpace(r.Name)
	if err := h.mayChange(ctx); err != nil {
		return ConnectorInfo{}, err
	}
	if r.InitialState == "" {
		r.InitialState = Started
	}
	config, err := named(name, r.Config)
	if err != nil {
		return ConnectorInfo{}, err
	}
	if _, exists := h.desired(name); exists {
		return ConnectorInfo{}, existsError(name)
	}
	if err := h.checkConfig(ctx, config); err != nil {
		return ConnectorInfo{}, err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return ConnectorInfo{}, err
	}
	defer unlock()
	if _, exists := h.desired(name); exists {
		return ConnectorInfo{}, existsError(name)
	}
	var entries []kafkalog.Entry
	if r.InitialState != Started {
		// Before the connector itself, so that nobody starts it in between.
		entries = append(entries, targetEntry(name, r.InitialState))
	}
	return h.writeConfig(ctx, name, append(entries, connectorEntry(name, config)))
}

func existsError(name string) error {
	return &connect.Error{Code: "connector.exists", Message: "Connector " + name + " already exists"}
}

// named returns the configuration with its name in it.
func named(name string, config connect.Config) (connect.Config, error) {
	config = maps.Clone(config)
	if config == nil {
		config = connect.Config{}
	}
	if given, ok := config["name"]; ok && given != name {
		return nil, &connect.Error{
			Code: "request.invalid", Class: connect.ClassConfig,
			Message: fmt.Sprintf("Connector name configuration (%s) doesn't match connector name in the URL (%s)", given, name),
		}
	}
	config["name"] = name
	return config, nil
}

// checkConfig fails when the configuration has faults, and lists them all.
func (h *Herder) checkConfig(ctx context.Context, config connect.Config) error {
	v, err := h.Validate(ctx, "", config)
	if err != nil {
		return err
	}
	if v.ErrorCount == 0 {
		return nil
	}
	var texts []string
	for _, c := range v.Configs {
		texts = append(texts, c.Value.Errors...)
	}
	return &connect.Error{
		Code: "config.invalid", Class: connect.ClassConfig,
		Message: fmt.Sprintf("Connector configuration is invalid and contains the following %d error(s):\n%s\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`",
			v.ErrorCount, strings.Join(texts, "\n")),
	}
}

// writeConfig writes a connector's records and waits, for a while, until the change
// is visible in its state.
func (h *Herder) writeConfig(ctx context.Context, name string, entries []kafkalog.Entry) (ConnectorInfo, error) {
	if err := h.write(ctx, "writing a config for connector "+name+" to the config topic", entries...); err != nil {
		return ConnectorInfo{}, err
	}
	h.rt.statuses.expectConnector(name)
	return h.Connector(name)
}

// PutConfig replaces a connector's configuration, or creates the connector.
func (h *Herder) PutConfig(ctx context.Context, name string, config connect.Config) (info ConnectorInfo, created bool, err error) {
	if err := h.mayChange(ctx); err != nil {
		return ConnectorInfo{}, false, err
	}
	if _, exists := h.desired(name); !exists {
		info, err = h.Create(ctx, CreateRequest{Name: name, Config: config})
		return info, err == nil, err
	}
	if config, err = named(name, config); err != nil {
		return info, false, err
	}
	info, err = h.replace(ctx, name, config)
	return info, false, err
}

// replace checks and writes a configuration for a connector that exists.
func (h *Herder) replace(ctx context.Context, name string, config connect.Config) (ConnectorInfo, error) {
	if err := h.checkConfig(ctx, config); err != nil {
		return ConnectorInfo{}, err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return ConnectorInfo{}, err
	}
	defer unlock()
	return h.writeConfig(ctx, name, []kafkalog.Entry{connectorEntry(name, config)})
}

// PatchConfig changes single settings of a connector; a nil value removes one.
func (h *Herder) PatchConfig(ctx context.Context, name string, patch map[string]*string) (ConnectorInfo, error) {
	if err := h.mayChange(ctx); err != nil {
		return ConnectorInfo{}, err
	}
	d, ok := h.desired(name)
	if !ok {
		return ConnectorInfo{}, notFound(name)
	}
	config := maps.Clone(d.config)
	for k, v := range patch {
		if v == nil {
			delete(config, k)
			continue
		}
		config[k] = *v
	}
	config, err := named(name, config)
	if err != nil {
		return ConnectorInfo{}, err
	}
	return h.replace(ctx, name, config)
}
