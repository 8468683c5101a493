package rest

import (
	"net/http"
	"strconv"

	"github.com/tidemill/tidemill/worker"
)

// peekBody is the answer of GET /connectors/{name}/peek. Partial tells that not all
// partitions could be read to their ends.
type peekBody struct {
	Name    string          `json:"name"`
	Records []worker.Peeked `json:"records"`
	Partial bool            `json:"partial,omitempty"`
}

// How many records are shown when nobody says it, and at most.
const (
	newestRecords = 10
	mostRecords   = 100
)

// peek shows the newest records of a connector's topics.
func (s *Server) peek(r *http.Request) (answer, error) {
	values, limit := r.URL.Query(), newestRecords
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return answer{}, fail(http.StatusBadRequest, "The parameter limit is a number of records, not "+text)
		}
		limit = min(n, mostRecords)
	}
	name := r.PathValue("name")
	records, whole, err := s.o.Herder.Peek(r.Context(), name, values.Get("topic"), limit)
	if err != nil {
		return answer{}, err
	}
	for i := range records {
		if f := records[i].Failure; f != nil {
			f.Place, f.Message, f.Mend = s.redact(f.Place), s.redact(f.Message), s.redact(f.Mend)
		}
	}
	return ok(peekBody{Name: name, Records: records, Partial: !whole})
}
