package devstack

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// advertised is a listener that names another address as its own. The broker tells
// its clients the address that its listener names.
type advertised struct {
	net.Listener
	addr net.Addr
}

func (a advertised) Addr() net.Addr { return a.addr }

// advertising makes listeners that name address as their own.
func advertising(address string) func(network, listen string) (net.Listener, error) {
	return func(network, listen string) (net.Listener, error) {
		addr, err := net.ResolveTCPAddr(network, address)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen(network, listen)
		if err != nil {
			return nil, err
		}
		return advertised{l, addr}, nil
	}
}

// Fail makes the broker answer the next requests of one kind with an error, or, with
// code 0, close their connections unanswered. It is for tests of clients. api is the
// protocol's name of the request; those that can be answered with an error are
// Produce, InitProducerID, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn,
// FindCoordinator and OffsetCommit. The numbers are those of
// https://kafka.apache.org/protocol#protocol_error_codes. It stops after the given
// number of requests, or when the time is up, whichever comes first. With a topic, only
// the partitions of that topic are refused, and the rest of a request is done.
func (k *Kafka) Fail(api string, code int16, times int, within time.Duration, topic string) error {
	key, ok := failable[api]
	switch {
	case !ok:
		return fmt.Errorf("%q is not a request that can be made to fail", api)
	case code != 0 && kerr.TypedErrorForCode(code) == nil:
		return fmt.Errorf("%d is no error of the protocol", code)
	case times < 1:
		return fmt.Errorf("%d requests cannot fail", times)
	case topic != "" && code == 0:
		return fmt.Errorf("a connection cannot be closed for one topic")
	}
	if topic != "" {
		until := time.Now().Add(within)
		k.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: topic, Err: kerr.TypedErrorForCode(code), Count: times,
			When: func(kmsg.Request) bool { return time.Now().Before(until) }})
		return nil
	}
	left, until := new(atomic.Int64), time.Now().Add(within)
	left.Store(int64(times))
	k.cluster.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if time.Now().After(until) || left.Add(-1) < 0 {
			k.cluster.DropControl()
			return nil, nil, false
		}
		k.cluster.KeepControl()
		if code == 0 {
			return nil, net.ErrClosed, true
		}
		resp := refused(req, code)
		return resp, nil, resp != nil
	})
	return nil
}

// failable are the requests that refused answers.
var failable = map[string]kmsg.Key{
	"Produce": kmsg.Produce, "InitProducerID": kmsg.InitProducerID, "AddPartitionsToTxn": kmsg.AddPartitionsToTxn, "AddOffsetsToTxn": kmsg.AddOffsetsToTxn,
	"EndTxn": kmsg.EndTxn, "FindCoordinator": kmsg.FindCoordinator, "OffsetCommit": kmsg.OffsetCommit,
}

// refused answers a request with an error, everywhere where its answer has room for
// one; nil when that is nowhere.
func refused(req kmsg.Request, code int16) kmsg.Response {
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		return refusedProduce(r, code)
	case *kmsg.OffsetCommitRequest:
		return refusedCommit(r, code)
	case *kmsg.AddPartitionsToTxnRequest:
		return refusedPartitions(r, code)
	}
	switch r := req.ResponseKind().(type) {
	case *kmsg.InitProducerIDResponse:
		r.ErrorCode, r.ProducerID, r.ProducerEpoch = code, -1, -1
		return r
	case *kmsg.AddOffsetsToTxnResponse:
		r.ErrorCode = code
		return r
	case *kmsg.EndTxnResponse:
		r.ErrorCode, r.ProducerID, r.ProducerEpoch = code, -1, -1
		return r
	case *kmsg.FindCoordinatorResponse:
		return refusedCoordinator(req.(*kmsg.FindCoordinatorRequest), r, code)
	}
	return nil
}

func refusedProduce(req *kmsg.ProduceRequest, code int16) kmsg.Response {
	if req.Acks == 0 {
		return nil // Nobody waits for an answer.
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.ErrorCode, part.BaseOffset = p.Partition, code, -1
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func refusedCommit(req *kmsg.OffsetCommitRequest, code int16) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			part := kmsg.NewOffsetCommitResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, code
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// refusedPartitions answers as versions up to 3 do, which are those of clients.
func refusedPartitions(req *kmsg.AddPartitionsToTxnRequest, code int16) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewAddPartitionsToTxnResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			part.Partition, part.ErrorCode = p, code
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// refusedCoordinator names no coordinator for any of the keys asked for.
func refusedCoordinator(req *kmsg.FindCoordinatorRequest, resp *kmsg.FindCoordinatorResponse, code int16) kmsg.Response {
	resp.ErrorCode, resp.NodeID = code, -1
	for _, key := range req.CoordinatorKeys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.ErrorCode, c.NodeID = key, code, -1
		resp.Coordinators = append(resp.Coordinators, c)
	}
	return resp
}
