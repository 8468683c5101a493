package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
	pgsource "github.com/tidemill/tidemill/sources/postgres"
)

// diagnoseRunning asks the worker, which alone may read the connector's secrets, to
// look at the database, and adds what the connector itself shows.
func diagnoseRunning(ctx context.Context, c *client, name string) (*diagnosis, error) {
	path := "/connectors/" + url.PathEscape(name)
	var settings connect.Config
	if err := c.call(ctx, http.MethodGet, path+"/config", nil, &settings); err != nil {
		if e, ok := err.(*restError); ok && e.status == http.StatusNotFound {
			return nil, &connect.Error{Code: "doctor.unknown", Place: name, Message: "there is neither a file nor a connector of this name on " + c.base,
				Mend: "name a file, or give --url of the worker that runs it"}
		}
		return nil, err
	}
	d := newDiagnosis(name, settings)
	status, err := c.status(ctx, name)
	if err != nil {
		return nil, err
	}
	d.State = status.Connector.State
	for _, t := range status.Tasks {
		if t.State == "FAILED" {
			d.State = t.State
		}
	}
	if why, _, _ := strings.Cut(status.failed(), "\n"); why != "" {
		d.Findings = append(d.Findings, failureFinding(why))
	}
	if d.Nothing != "" {
		return d, nil
	}
	found, err := validateRunning(ctx, c, settings)
	if err != nil {
		return nil, err
	}
	d.Findings = append(d.Findings, found...)
	var details struct{ Tasks []map[string]any }
	if err := c.call(ctx, http.MethodGet, path+"/details", nil, &details); err != nil {
		return nil, err
	}
	d.Details = details.Tasks
	return d, nil
}

// failureFinding makes a finding of the error that a failed connector shows.
func failureFinding(trace string) pgsource.Finding {
	code, rest, _ := strings.Cut(trace, ": ")
	return settingFinding("", rest, code)
}

// validateRunning has the worker validate the connector's own configuration. Masked
// secrets stand for those it has.
func validateRunning(ctx context.Context, c *client, settings connect.Config) ([]pgsource.Finding, error) {
	var answer struct {
		Configs []struct {
			Value struct {
				Name     string
				Errors   []string
				Warnings []string
				Findings json.RawMessage
			}
		}
	}
	class := settings["connector.class"]
	if err := c.call(ctx, http.MethodPut, "/connector-plugins/"+url.PathEscape(class)+"/config/validate", settings, &answer); err != nil {
		return nil, err
	}
	var list []pgsource.Finding
	for _, one := range answer.Configs {
		if len(one.Value.Findings) > 0 {
			if err := json.Unmarshal(one.Value.Findings, &list); err != nil {
				return nil, err
			}
		}
	}
	known := func(text string) bool {
		return slices.ContainsFunc(list, func(f pgsource.Finding) bool { return strings.HasPrefix(text, f.Code+": ") })
	}
	var others []pgsource.Finding
	for _, one := range answer.Configs {
		for _, text := range one.Value.Errors {
			if !known(text) {
				f := settingFinding(one.Value.Name, text, "config.invalid")
				if code, rest, ok := strings.Cut(text, ": "); ok && strings.Contains(code, ".") && !strings.Contains(code, " ") {
					f = settingFinding(one.Value.Name, rest, code)
				}
				others = append(others, f)
			}
		}
	}
	return append(others, list...), nil
}
