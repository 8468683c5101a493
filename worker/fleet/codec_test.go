package fleet

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestGoldenBytes has bytes as Kafka Connect's workers write them.
func TestGoldenBytes(t *testing.T) {
	for golden, m := range map[string]Metadata{
		"0002000f687474703a2f2f77313a383038332f0000000000000005ffffffff": {Version: 2, URL: "http://w1:8083/", Offset: 5},
		"0001000f687474703a2f2f77313a383038332f0000000000000005ffffffff": {Version: 1, URL: "http://w1:8083/", Offset: 5},
		"0000000f687474703a2f2f77313a383038332f0000000000000005":         {URL: "http://w1:8083/", Offset: 5},
		"0002000f687474703a2f2f77313a383038332f0000000000000005" + "0000003c" + assigned: {Version: 2, URL: "http://w1:8083/", Offset: 5, Current: &Assignment{
			Version: 2, Leader: "L", LeaderURL: "http://w1:8083/", Offset: 5, Assigned: []Work{{"c1", Itself}, {"c1", 0}},
		}},
	} {
		if got := hex.EncodeToString(m.Encode()); got != golden {
			t.Errorf("%+v is written as\n%s, want\n%s", m, got, golden)
		}
		data, _ := hex.DecodeString(golden)
		back, err := ParseMetadata(data)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%s is read as %+v, %v", golden, back, err)
		}
	}
	for golden, a := range map[string]Assignment{
		assigned: {Version: 2, Leader: "L", LeaderURL: "http://w1:8083/", Offset: 5, Assigned: []Work{{"c1", Itself}, {"c1", 0}}},
		"0000" + "0001" + "0000" + "0000" + "0000000000000007" + "00000000": {Error: 1, Offset: 7},
		"0001" + "0000" + "00014c" + "000175" + "0000000000000007" + "00000001" + "000161" + "00000001" + "00000003" + "00000001" + "000162" + "00000001" + "ffffffff" + "00001388": {
			Version: 1, Leader: "L", LeaderURL: "u", Offset: 7, Assigned: []Work{{"a", 3}}, Revoked: []Work{{"b", Itself}}, Delay: 5 * time.Second,
		},
	} {
		if got := hex.EncodeToString(a.Encode()); got != golden {
			t.Errorf("%+v is written as\n%s, want\n%s", a, got, golden)
		}
		data, _ := hex.DecodeString(golden)
		back, err := ParseAssignment(data)
		if err != nil || !reflect.DeepEqual(back, a) {
			t.Errorf("%s is read as %+v, %v", golden, back, err)
		}
	}
}

const assigned = "0002000000014c000f687474703a2f2f77313a383038332f0000000000000005000000010002633100000002ffffffff000000000000000000000000"

// TestNullListsAreEmpty reads lists that Connect's first incremental versions leave null.
func TestNullListsAreEmpty(t *testing.T) {
	data, _ := hex.DecodeString("0001" + "0000" + "00014c" + "000175" + "0000000000000007" + "ffffffff" + "ffffffff" + "00000000")
	if a, err := ParseAssignment(data); err != nil || a.Assigned != nil || a.Revoked != nil {
		t.Errorf("read as %+v, %v", a, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{assigned, "0002000f687474703a2f2f77313a383038332f0000000000000005ffffffff", "", "0002ffff", "00020000000000007fffffff7fffffff"} {
		data, _ := hex.DecodeString(text)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := ParseAssignment(data); err == nil {
			again, err := ParseAssignment(a.Encode())
			if err != nil || !bytes.Equal(again.Encode(), a.Encode()) {
				t.Errorf("%x does not come back: %v", data, err)
			}
		}
		if m, err := ParseMetadata(data); err == nil {
			again, err := ParseMetadata(m.Encode())
			if err != nil || !bytes.Equal(again.Encode(), m.Encode()) {
				t.Errorf("%x does not come back: %v", data, err)
			}
		}
	})
}

// TestMessagesOfKafkaConnect reads what one of its workers has said to its group, and says
// the same.
func TestMessagesOfKafkaConnect(t *testing.T) {
	text, err := os.ReadFile("../testdata/kafka-connect.txt")
	if err != nil {
		t.Fatal(err)
	}
	found, given := 0, 0
	for line := range strings.Lines(string(text)) {
		kind, message, _ := strings.Cut(strings.TrimSpace(line), "\t")
		data, err := hex.DecodeString(message)
		var again []byte
		switch kind {
		case "metadata":
			var m Metadata
			m, err = ParseMetadata(data)
			again = m.Encode()
		case "assignment":
			var a Assignment
			a, err = ParseAssignment(data)
			again = a.Encode()
			given += len(a.Assigned)
		default:
			continue
		}
		if found++; err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s %s, %v, is written as %x", kind, message, err, again)
		}
	}
	if found != 4 || given == 0 {
		t.Errorf("the file has %d messages, which give %d things to run", found, given)
	}
}
