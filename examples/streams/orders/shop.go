package main

import (
	"encoding/binary"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// Request is what a customer asks for. Its record's key is the customer's name, so
// that all requests about one name are in one partition, one after another.
type Request struct {
	ID    string `json:"id"`
	Do    string `json:"do"` // register, deposit or order
	Cents int64  `json:"cents,omitempty"`
}

// Answer is what became of a request. Every request has exactly one.
type Answer struct {
	ID      string `json:"id"`
	Done    bool   `json:"done"`
	Why     string `json:"why,omitempty"` // it was refused
	Balance int64  `json:"balance"`       // afterwards
}

// The topics.
const (
	requests = "orders-requests"
	answers  = "orders-answers"
)

// shop answers requests in the order of the log. No two customers have one name, and
// no balance ever is negative: each request is judged with all before it applied and
// none after it, which no check before writing to the log could promise.
func shop(seen func(streams.Record[string, Answer]) error) (*streams.Topology, error) {
	b := streams.NewBuilder()
	in := streams.From(b, requests, serde.Text{}, serde.JSON[Request]{})
	out := streams.Process(in, begin, streams.With{Name: "clerk", FixedKey: true, Stores: []state.Spec{{Name: "balances"}}})
	out.To(answers, serde.Text{}, serde.JSON[Answer]{})
	if seen != nil {
		out.ForEach(seen)
	}
	return b.Build()
}

// clerk judges the requests of a partition. A customer exists when there is a balance.
type clerk struct {
	c        *streams.Context[string, Answer]
	balances state.Store
	row      []byte
}

// begin opens the clerk's books.
func begin(c *streams.Context[string, Answer]) (func(*streams.Record[string, Request]) error, error) {
	balances, err := c.Store("balances")
	p := &clerk{c: c, balances: balances}
	return p.take, err
}

func (p *clerk) take(r *streams.Record[string, Request]) error {
	if r.NoKey || r.Key == "" {
		return p.answer(r, Answer{Why: "a request is about somebody"})
	}
	var known bool
	var err error
	if p.row, known, err = p.balances.Get(p.row[:0], []byte(r.Key)); err != nil {
		return err
	}
	balance := int64(0)
	if known {
		balance = int64(binary.BigEndian.Uint64(p.row))
	}
	after, why := judge(r.Value, known, balance)
	if why != "" {
		return p.answer(r, Answer{Why: why, Balance: balance})
	}
	if err := p.balances.Put([]byte(r.Key), binary.BigEndian.AppendUint64(nil, uint64(after))); err != nil {
		return err
	}
	return p.answer(r, Answer{Done: true, Balance: after})
}

func (p *clerk) answer(r *streams.Record[string, Request], a Answer) error {
	a.ID = r.Value.ID
	return p.c.Forward(&streams.Record[string, Answer]{Value: a, Time: r.Time, Headers: r.Headers})
}

// judge says what a request makes of a balance, or why it is refused.
func judge(r Request, known bool, balance int64) (after int64, why string) {
	switch {
	case r.Do == "register" && known:
		return 0, "the name is taken"
	case r.Do == "register":
		return 0, ""
	case !known:
		return 0, "nobody has this name"
	case r.Cents <= 0:
		return 0, "the amount is not positive"
	case r.Do == "deposit":
		return balance + r.Cents, ""
	case r.Do == "order" && r.Cents > balance:
		return 0, "the balance does not cover it"
	case r.Do == "order":
		return balance - r.Cents, ""
	}
	return 0, "there is no such request"
}
