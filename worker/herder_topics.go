package worker

import (
	"context"

	"github.com/tidemill/tidemill/connect"
)

// Topics returns the topics the connector has written to or read from since it was
// created or since the last ResetTopics, sorted. It fails with "request.forbidden"
// when topic tracking is off.
func (h *Herder) Topics(name string) ([]string, error) {
	if !h.rt.settings.Bool("topic.tracking.enable") {
		return nil, &connect.Error{Code: "request.forbidden", Message: "Topic tracking is disabled."}
	}
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	return append([]string{}, h.rt.statuses.topicsOf(name)...), nil
}

// ResetTopics forgets the topics a connector has used.
func (h *Herder) ResetTopics(_ context.Context, name string) error {
	if _, err := h.Topics(name); err != nil {
		return err
	}
	if !h.rt.settings.Bool("topic.tracking.allow.reset") {
		return &connect.Error{Code: "request.forbidden", Message: "Topic tracking reset is disabled."}
	}
	h.rt.statuses.dropTopics(name)
	return nil
}
