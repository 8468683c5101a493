package worker

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestParcelsAreUsedAgain wants the memory of a parcel back when all that was in it has
// arrived, and never before, whoever says so.
func TestParcelsAreUsedAgain(t *testing.T) {
	p := parcels{life: t.Context()}
	var arriving sync.WaitGroup
	free := make(chan []*outgoing, 4) // As the brokers answer: later, all of a request.
	for range 3 {
		arriving.Go(func() {
			for records := range free {
				for _, o := range records {
					if want := string(o.Key); string(o.Value) != want+want {
						t.Errorf("the record of %s has the value %s", want, o.Value)
					}
					o.way.release(true)
				}
			}
		})
	}
	n := 0
	for batch := range 2000 {
		var sent []*outgoing
		for left := 1 + batch%37*11; left > 0; {
			room := p.take(left)
			left -= len(room)
			for i := range room {
				o := &room[i]
				if o.Key != nil || o.Context != nil || o.way.told != nil {
					t.Fatalf("room was given out that is not empty: %+v", o)
				}
				a := &o.way.arena
				n++
				o.Key = a.keep(fmt.Append(a.tail(), n))
				o.Value = a.keep(append(append(a.tail(), o.Key...), o.Key...))
				o.Context = &o.way
				sent = append(sent, o)
			}
		}
		free <- sent
	}
	close(free)
	arriving.Wait()
}

// TestParcelsOfLostRecordsAreNotUsedAgain: who still looks at a record that the producer
// gave up on is not known.
func TestParcelsOfLostRecordsAreNotUsedAgain(t *testing.T) {
	p := parcels{life: t.Context()}
	for range 20 {
		room := p.take(parcelRecords)
		lost := room[0].way.parcel
		for i := range room {
			room[i].way.release(i != 7)
		}
		if next := p.empty(); next == lost {
			t.Fatal("a parcel with a lost record is used again")
		}
	}
}

// TestContextsOutliveTheirRecords: the producer asks a record's context whether it is
// done even when the record has arrived and its memory is used for another.
func TestContextsOutliveTheirRecords(t *testing.T) {
	life, end := context.WithCancel(t.Context())
	p := parcels{life: life}
	room := p.take(1)
	var late context.Context = &room[0].way
	var asking sync.WaitGroup
	asking.Go(func() { <-late.Done() })
	for range 10 * parcelRecords {
		room[0].Record = kgo.Record{Context: &room[0].way}
		room[0].way.release(true)
		room = p.take(1)
	}
	end()
	asking.Wait()
	if late.Err() == nil {
		t.Error("the context of a record does not end with the task")
	}
}
