package avro

import (
	"context"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/converters/json"
)

// TestAsKafkaConnect reads what Kafka Connect's JsonConverter and Confluent's
// AvroConverter wrote for the same values, three lines for each: the JSON envelope,
// the Avro schema's text, the Avro bytes in hexadecimal. All three must come out of
// here byte by byte.
func TestAsKafkaConnect(t *testing.T) {
	file, err := os.ReadFile("testdata/kafka-connect.golden")
	if err != nil {
		t.Fatal(err)
	}
	cases := strings.Split(strings.TrimSpace(string(file)), "\n\n")
	if len(cases) < 30 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		lines := strings.Split(c, "\n")
		envelope, text, data := lines[0], lines[1], lines[2]
		conv := &json.Converter{}
		if err := conv.Configure(nil, false); err != nil {
			t.Fatal(err)
		}
		s, v, err := conv.ToConnect(context.Background(), "t", []byte(envelope))
		if err != nil {
			t.Errorf("%s: %v", envelope, err)
			continue
		}
		if back, err := conv.FromConnect(context.Background(), []byte{}, "t", s, v); err != nil || string(back) != envelope {
			t.Errorf("the JSON is\n%s, not\n%s: %v", back, envelope, err)
		}
		n, err := usual.toAvro(s)
		if err != nil || schemaText(n) != text {
			t.Errorf("the schema is\n%s, not\n%s: %v", schemaText(n), text, err)
			continue
		}
		enc, err := usual.newEncoder(s, n)
		if err != nil {
			t.Error(err)
			continue
		}
		if b, err := enc.append(nil, v); err != nil || hex.EncodeToString(b) != data {
			t.Errorf("%s: the bytes are %x, not %s: %v", text, b, data, err)
		}
	}
}
