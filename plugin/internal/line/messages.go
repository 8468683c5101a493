package line

import (
	"github.com/tidemill/tidemill/connect"
)

// The bodies that are JSON.

// Description is what a plugin's process holds.
type Description struct {
	Classes []Class `json:"classes"`
	// Refused names what the process holds and cannot serve, with the reason.
	Refused []string `json:"refused,omitempty"`
}

// Role is what a class is for.
type Role string

// The roles that a worker knows.
const (
	Source    Role = "source"
	Sink      Role = "sink"
	Transform Role = "transform"
	Predicate Role = "predicate"
	Converter Role = "converter"
)

// Class is one class.
type Class struct {
	Role    Role     `json:"role"`
	Class   string   `json:"class"`
	Aliases []string `json:"aliases,omitempty"`
	Version string   `json:"version,omitempty"`
	Doc     string   `json:"doc,omitempty"`
	// Settings are nil when the class declares none; Open says that it takes others too.
	Settings []Setting `json:"settings"`
	Open     bool      `json:"open,omitempty"`
	Commits  bool      `json:"commits,omitempty"` // Source tasks want to be told of commits.
	Answers  bool      `json:"answers,omitempty"` // Sink tasks say what may be committed.
	Opens    bool      `json:"opens,omitempty"`   // Sink tasks want to be told of partitions.
	Probes   bool      `json:"probes,omitempty"`  // Converters try what they depend on.
}

// Setting is a declared setting, less the functions, which stay with the plugin.
type Setting struct {
	Name        string             `json:"name"`
	Type        connect.ConfigType `json:"type"`
	Default     string             `json:"default,omitempty"`
	Optional    bool               `json:"optional,omitempty"`
	Required    bool               `json:"required,omitempty"`
	Importance  connect.Importance `json:"importance,omitempty"`
	Doc         string             `json:"doc,omitempty"`
	Group       string             `json:"group,omitempty"`
	DisplayName string             `json:"display_name,omitempty"`
	Dependents  []string           `json:"dependents,omitempty"`
	Aliases     []string           `json:"aliases,omitempty"`
}

// Target says which class of the process is meant.
type Target struct {
	Role    Role   `json:"role"`
	Class   string `json:"class"`
	Version string `json:"version,omitempty"`
}

// Question is what is asked of a connector, started or not. A transform or predicate is only
// asked whether its settings are right.
type Question struct {
	Target
	Config  connect.Config    `json:"config"`
	Name    string            `json:"name,omitempty"`    // Of a remedy.
	Offsets map[string]string `json:"offsets,omitempty"` // JSON of partitions to JSON of offsets.
	Drop    bool              `json:"drop,omitempty"`
}

// Answer is the answer to a [Question]; each method has its own part.
type Answer struct {
	Values      connect.ConfigValues `json:"values,omitempty"`
	ExactlyOnce bool                 `json:"exactly_once,omitempty"`
	Boundaries  bool                 `json:"boundaries,omitempty"`
	Did         bool                 `json:"did,omitempty"`
	Told        string               `json:"told,omitempty"`
	Offsets     map[string]string    `json:"offsets,omitempty"`
}

// Start starts a connector, a task, or a transform, predicate or converter, whose Config are
// its own settings alone.
type Start struct {
	Target
	Name     string         `json:"name"` // The connector's.
	Task     int            `json:"task"`
	Config   connect.Config `json:"config"`
	Debug    bool           `json:"debug,omitempty"` // The worker logs at this level.
	StateDir string         `json:"state_dir,omitempty"`
	Key      bool           `json:"key,omitempty"` // A converter is for keys.
	// What the worker has a door for.
	Refreshes bool `json:"refreshes,omitempty"`
	Signals   bool `json:"signals,omitempty"`
	Shows     bool `json:"shows,omitempty"`
	Consumes  bool `json:"consumes,omitempty"`
	Reports   bool `json:"reports,omitempty"`
	// Replays is that of connect.SinkTaskEnv.
	Replays bool `json:"replays,omitempty"`
}

// Point is a partition of a topic, and an offset where one is meant.
type Point struct {
	Topic     string `json:"t"`
	Partition int32  `json:"p"`
	Offset    int64  `json:"o,omitempty"`
}

// Points lists partitions.
func Points(partitions []connect.TopicPartition) []Point {
	list := make([]Point, len(partitions))
	for i, tp := range partitions {
		list[i] = Point{Topic: tp.Topic, Partition: tp.Partition}
	}
	return list
}

// OffsetPoints lists partitions with their offsets.
func OffsetPoints(offsets map[connect.TopicPartition]int64) []Point {
	list := make([]Point, 0, len(offsets))
	for tp, o := range offsets {
		list = append(list, Point{tp.Topic, tp.Partition, o})
	}
	return list
}

// Partitions is the other way round of [Points].
func Partitions(list []Point) []connect.TopicPartition {
	partitions := make([]connect.TopicPartition, len(list))
	for i, p := range list {
		partitions[i] = connect.TopicPartition{Topic: p.Topic, Partition: p.Partition}
	}
	return partitions
}

// Offsets is the other way round of [OffsetPoints].
func Offsets(list []Point) map[connect.TopicPartition]int64 {
	offsets := make(map[connect.TopicPartition]int64, len(list))
	for _, p := range list {
		offsets[connect.TopicPartition{Topic: p.Topic, Partition: p.Partition}] = p.Offset
	}
	return offsets
}

// Stored is a record of a source whose offset is stored: the newest of its partition.
type Stored struct {
	Partition string `json:"p"`
	Seq       uint64 `json:"n"`
}

// Reading asks the worker to read a topic, and carries what it reads.
type Reading struct {
	ID       uint64         `json:"id"`
	Settings connect.Config `json:"settings,omitempty"`
	Topic    string         `json:"topic,omitempty"`
	Group    string         `json:"group,omitempty"`
	Key      []byte         `json:"key,omitempty"`
	Value    []byte         `json:"value,omitempty"`
	NilKey   bool           `json:"nil_key,omitempty"`
	NilValue bool           `json:"nil_value,omitempty"`
}

// Document is a document a task shows.
type Document struct {
	Name string `json:"name"`
	JSON string `json:"json"`
	Gone bool   `json:"gone,omitempty"`
}

// FiguresUpdate is what counters have grown by and where gauges stand.
type FiguresUpdate struct {
	Add map[string]int64   `json:"add,omitempty"`
	Set map[string]float64 `json:"set,omitempty"`
}

// Letter reports a record that cannot be written.
type Letter struct {
	Record []byte `json:"record"` // A block of one record.
	Cause  []byte `json:"cause"`  // The error.
}

// PackError writes an error for a message that carries one.
func PackError(err error) []byte { return packError(err) }

// UnpackError reads what PackError wrote.
func UnpackError(body []byte) error { return unpackError(body) }
