package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Offsets returns a connector's stored offsets: of a source those in the offsets
// topic, of a sink those its consumer group has committed.
func (h *Herder) Offsets(ctx context.Context, name string) ([]OffsetEntry, error) {
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	d, ok := h.desired(name)
	if !ok {
		return nil, notFound(name)
	}
	if h.kind(d.config) == "sink" {
		return h.sinkOffsets(ctx, d.config)
	}
	if err := h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, h.timeout()
		}
		return nil, fmt.Errorf("read the offsets: %w", err)
	}
	return h.rt.offsets.list(name), nil
}

// sinkPartition and sinkOffset are how offsets of sinks are written.
type sinkPartition struct {
	Topic     string `json:"kafka_topic"`
	Partition int32  `json:"kafka_partition"`
}

type sinkOffset struct {
	Offset int64 `json:"kafka_offset"`
}

// withAdmin calls f with an administrative client of the connector's own rights, and
// the name of its consumer group.
func (h *Herder) withAdmin(stored connect.Config, f func(admin *kadm.Client, group string) error) error {
	config, err := h.rt.resolve(stored)
	if err != nil {
		return err
	}
	opts, err := clientOptions(clientProps(h.rt.raw, adminClient, config), adminClient)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	return f(kadm.NewClient(client), sinkGroup(h.rt.raw, config))
}

func (h *Herder) sinkOffsets(ctx context.Context, config connect.Config) ([]OffsetEntry, error) {
	entries := []OffsetEntry{}
	err := h.withAdmin(config, func(admin *kadm.Client, group string) error {
		offsets, err := admin.FetchOffsets(ctx, group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return brokerError("kafka.offsets", "the group's offsets cannot be read", err)
		}
		for _, o := range offsets.Sorted() {
			if o.Err != nil || o.At < 0 {
				continue
			}
			entries = append(entries, OffsetEntry{
				Partition: appendJSON(nil, sinkPartition{o.Topic, o.Partition}), Offset: appendJSON(nil, sinkOffset{o.At}),
			})
		}
		return nil
	})
	return entries, err
}

// offsetsMayChange fails unless the connector is stopped and nothing of it runs. The
// caller holds the right to write.
func (h *Herder) offsetsMayChange(name string) (desired, error) {
	d, ok := h.desired(name)
	if !ok {
		return d, notFound(name)
	}
	idle, zombies := true, false
	if u := h.unit(name); u != nil {
		idle, zombies = u.idle()
	}
	if d.target != Stopped || !idle {
		return d, &connect.Error{
			Code: "request.invalid", Class: connect.ClassConfig,
			Message: "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/" + name + "/stop' endpoint",
		}
	}
	if zombies {
		return d, &connect.Error{
			Code: "connector.zombies", Class: connect.ClassRetriable,
			Message: "Failed to modify offsets for connector " + name + ", most likely because it still has zombie sink tasks.",
			Mend:    "wait until they have ended, or restart the worker",
		}
	}
	return d, nil
}

// AlterOffsets changes offsets of a stopped connector and returns what to tell the
// user.
func (h *Herder) AlterOffsets(ctx context.Context, name string, entries []OffsetEntry) (message string, err error) {
	if len(entries) == 0 {
		return "", invalidOffsets("Partitions / offsets need to be provided for an alter offsets request")
	}
	return h.modifyOffsets(ctx, name, entries, "altered")
}

// ResetOffsets forgets all offsets of a stopped connector and returns what to tell
// the user.
func (h *Herder) ResetOffsets(ctx context.Context, name string) (message string, err error) {
	return h.modifyOffsets(ctx, name, nil, "reset")
}

func invalidOffsets(format string, args ...any) error {
	return &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Message: fmt.Sprintf(format, args...)}
}

// modifyOffsets changes the given offsets, or resets all when there are none.
func (h *Herder) modifyOffsets(ctx context.Context, name string, entries []OffsetEntry, verb string) (string, error) {
	if err := h.checkReady(); err != nil {
		return "", err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	d, err := h.offsetsMayChange(name)
	if err != nil {
		return "", err
	}
	defer h.stages.enter("modifying offsets for connector " + name)()
	plugin, source, _, err := connectorPlugin(h.rt.plugins, d.config["connector.class"])
	if err != nil {
		return "", err
	}
	var everything bool
	if source {
		everything, err = h.modifySource(ctx, plugin, d, entries)
	} else {
		everything, err = h.modifySink(ctx, plugin, d, entries)
	}
	if err != nil {
		return "", err
	}
	if everything {
		return "The offsets for this connector have been " + verb + " successfully", nil
	}
	return "The Connect framework-managed offsets for this connector have been " + verb + " successfully. However, if this connector manages offsets externally, they will need to be manually " + verb + " in the system that the connector uses.", nil
}

// consult asks the connector, if it has a say, and tells whether it changed what it
// keeps itself.
func (h *Herder) consult(ctx context.Context, plugin connect.Connector, d desired, offsets map[connect.SourcePartition][]byte) (bool, error) {
	alterer, ok := plugin.(connect.OffsetAlterer)
	if !ok {
		return false, nil
	}
	config, err := h.rt.resolve(d.config)
	if err != nil {
		return false, err
	}
	var did bool
	err = bounded(ctx, callLimit, "altering offsets", func() (err error) {
		did, err = alterer.AlterOffsets(ctx, config, offsets)
		return err
	})
	return did, err
}

func isNull(text []byte) bool {
	t := bytes.TrimSpace(text)
	return len(t) == 0 || string(t) == "null"
}

func (h *Herder) modifySource(ctx context.Context, plugin connect.Connector, d desired, entries []OffsetEntry) (bool, error) {
	name := d.config["name"]
	if err := h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		return false, err
	}
	changes := map[connect.SourcePartition][]byte{}
	for _, e := range h.rt.offsets.list(name) {
		if p, err := parsePartition(e.Partition); err == nil && entries == nil {
			changes[p] = nil
		}
	}
	for _, e := range entries {
		if isNull(e.Partition) {
			return false, invalidOffsets("The partition for a source connector offset cannot be null or missing")
		}
		p, err := parsePartition(e.Partition)
		if err != nil {
			return false, invalidOffsets("The partition %s is no flat JSON object", e.Partition)
		}
		if isNull(e.Offset) {
			changes[p] = nil
			continue
		}
		var flat map[string]any
		if json.Unmarshal(e.Offset, &flat) != nil {
			return false, invalidOffsets("The offset %s is no JSON object", e.Offset)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, e.Offset); err != nil {
			return false, invalidOffsets("The offset %s is no JSON object", e.Offset)
		}
		changes[p] = compact.Bytes()
	}
	everything, err := h.consult(ctx, plugin, d, changes)
	if err != nil {
		return false, err
	}
	var records []kafkalog.Entry
	for p, value := range changes {
		records = append(records, h.rt.offsets.entry(name, p, value))
	}
	if len(records) > 0 {
		if err := h.rt.offsets.journal.Put(ctx, records...); err != nil {
			return false, err
		}
	}
	return everything, h.rt.offsets.journal.ReadToEnd(ctx)
}

// parseSink reads an entry for a sink. reset is true for an offset of null.
func parseSink(e OffsetEntry) (tp connect.TopicPartition, offset int64, reset bool, err error) {
	if isNull(e.Partition) {
		return tp, 0, false, invalidOffsets("The partition for a sink connector offset cannot be null or missing")
	}
	var partition map[string]any
	d := json.NewDecoder(bytes.NewReader(e.Partition))
	d.UseNumber()
	if d.Decode(&partition) != nil {
		return tp, 0, false, invalidOffsets("The partition %s is no JSON object", e.Partition)
	}
	topic, hasTopic := partition["kafka_topic"]
	number, hasNumber := partition["kafka_partition"]
	if !hasTopic || !hasNumber {
		return tp, 0, false, invalidOffsets("The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'")
	}
	if tp.Topic, hasTopic = topic.(string); !hasTopic {
		return tp, 0, false, invalidOffsets("Kafka topic names must be valid strings and may not be null")
	}
	n, err := strconv.ParseInt(fmt.Sprint(number), 10, 32)
	if err != nil {
		return tp, 0, false, invalidOffsets("Failed to parse the following Kafka partition value in the provided offsets: '%v'. Partition values for sink connectors need to be integers.", number)
	}
	tp.Partition = int32(n)
	if isNull(e.Offset) {
		return tp, 0, true, nil
	}
	var value map[string]any
	d = json.NewDecoder(bytes.NewReader(e.Offset))
	d.UseNumber()
	if d.Decode(&value) != nil || value["kafka_offset"] == nil {
		return tp, 0, false, invalidOffsets("The offset for a sink connector should either be null or contain the key 'kafka_offset'")
	}
	if offset, err = strconv.ParseInt(fmt.Sprint(value["kafka_offset"]), 10, 64); err != nil {
		return tp, 0, false, invalidOffsets("Failed to parse the following Kafka offset value in the provided offsets: '%v'. Offset values for sink connectors need to be integers.", value["kafka_offset"])
	}
	return tp, offset, false, nil
}

func (h *Herder) modifySink(ctx context.Context, plugin connect.Connector, d desired, entries []OffsetEntry) (bool, error) {
	set, forget := kadm.Offsets{}, kadm.TopicsSet{}
	told := map[connect.SourcePartition][]byte{}
	for _, e := range entries {
		tp, offset, reset, err := parseSink(e)
		if err != nil {
			return false, err
		}
		if p, err := parsePartition(appendJSON(nil, sinkPartition{tp.Topic, tp.Partition})); err == nil {
			told[p] = nil
			if !reset {
				told[p] = appendJSON(nil, sinkOffset{offset})
			}
		}
		if reset {
			forget.Add(tp.Topic, tp.Partition)
			continue
		}
		set.AddOffset(tp.Topic, tp.Partition, offset, -1)
	}
	everything, err := h.consult(ctx, plugin, d, told)
	if err != nil {
		return false, err
	}
	return everything, h.withAdmin(d.config, func(admin *kadm.Client, group string) error {
		if entries == nil {
			r, err := admin.DeleteGroup(ctx, group)
			if err == nil {
				err = r.Err
			}
			if errors.Is(err, kerr.GroupIDNotFound) {
				return nil
			}
			return sinkModified(err)
		}
		if len(set) > 0 {
			r, err := admin.CommitOffsets(ctx, group, set)
			if err == nil {
				err = r.Error()
			}
			if err != nil {
				return sinkModified(err)
			}
		}
		if len(forget) > 0 {
			r, err := admin.DeleteOffsets(ctx, group, forget)
			if err == nil {
				err = r.Error()
			}
			if errors.Is(err, kerr.GroupIDNotFound) {
				return nil
			}
			return sinkModified(err)
		}
		return nil
	})
}

// sinkModified explains why a group's offsets could not be changed.
func sinkModified(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, kerr.NonEmptyGroup) || errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.GroupSubscribedToTopic) {
		return &connect.Error{
			Code: "connector.zombies", Class: connect.ClassRetriable, Cause: err,
			Message: "Failed to alter consumer group offsets, either because its tasks haven't stopped completely yet or the connector was resumed before the request to alter its offsets could be successfully completed; it may also have zombie sink tasks.",
			Mend:    "try again in a moment",
		}
	}
	return brokerError("kafka.offsets", "the group's offsets cannot be changed", err)
}

// storageSettings returns further settings of an internal topic, which follow its
// prefix in the worker's settings.
func storageSettings(raw connect.Config, prefix string) map[string]string {
	settings := map[string]string{}
	for k, v := range under(raw, prefix) {
		if !slices.Contains([]string{"topic", "replication.factor", "partitions", "file.filename"}, k) {
			settings[k] = strings.TrimSpace(v)
		}
	}
	return settings
}
