package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

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
	if err := h.rt.checkOverrides(stored); err != nil {
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

func (h *Herder) modifySink(ctx context.Context, plugin connect.Connector, d desired, e edit) (bool, error) {
	set, forget := kadm.Offsets{}, kadm.TopicsSet{}
	told := map[connect.SourcePartition][]byte{}
	for _, e := range e.entries {
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
	h.remember(ctx, d, e.verb)
	return everything, h.withAdmin(d.config, func(admin *kadm.Client, group string) error {
		if e.entries == nil {
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
