package block

import "github.com/tidemill/tidemill/connect"

// Verdict is what a transform or predicate says of a record.
type Verdict struct {
	// Yes tells that the record is kept, or that the predicate holds.
	Yes bool
	// Changed tells that Record is what has become of it.
	Changed bool
	Record  connect.Record
	// Failure is why nothing can be said; nil for none.
	Failure []byte
}

// How a verdict begins.
const (
	verdictNo = iota
	verdictYes
	verdictChanged
	verdictFailure
)

// Records writes records for a transform or predicate.
func (e *Encoder) Records(records []*connect.Record) []byte {
	e.begin()
	e.uvarint(uint64(len(records)))
	for _, r := range records {
		e.common(r, 0)
	}
	return e.end()
}

// Records reads a block for a transform or predicate and appends its records to dst.
func (d *Decoder) Records(block []byte, dst []connect.Record) ([]connect.Record, error) {
	d.begin(block)
	for range d.count() {
		dst = append(dst, connect.Record{})
		d.common(&dst[len(dst)-1])
		if d.err != nil {
			return nil, d.err
		}
	}
	return dst, d.over()
}

// Verdicts writes what is said of records, in their order.
func (e *Encoder) Verdicts(verdicts []Verdict) []byte {
	e.begin()
	e.uvarint(uint64(len(verdicts)))
	for i := range verdicts {
		v := &verdicts[i]
		switch {
		case v.Failure != nil:
			e.b = append(e.b, verdictFailure)
			e.bytes(v.Failure)
		case !v.Yes:
			e.b = append(e.b, verdictNo)
		case !v.Changed:
			e.b = append(e.b, verdictYes)
		default:
			e.b = append(e.b, verdictChanged)
			e.common(&v.Record, 0)
		}
	}
	return e.end()
}

// Verdicts reads what is said of records and appends it to dst.
func (d *Decoder) Verdicts(block []byte, dst []Verdict) ([]Verdict, error) {
	d.begin(block)
	for range d.count() {
		dst = append(dst, Verdict{})
		v := &dst[len(dst)-1]
		switch kind := d.byte(); kind {
		case verdictNo:
		case verdictYes:
			v.Yes = true
		case verdictChanged:
			v.Yes, v.Changed = true, true
			d.common(&v.Record)
		case verdictFailure:
			v.Failure = d.bytes()
		default:
			d.fail("%d is no verdict", kind)
		}
		if d.err != nil {
			return nil, d.err
		}
	}
	return dst, d.over()
}
