package rest

import (
	"context"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

// Herder is what answers the questions about connectors: *worker.Herder. Its methods
// are called from any number of goroutines; their errors carry the codes that
// errors.go maps to statuses.
type Herder interface {
	viewer
	changer
	offsetKeeper
	host
	peer
}

// viewer shows connectors.
type viewer interface {
	Connectors() []string
	Connector(name string) (worker.ConnectorInfo, error)
	Status(name string) (worker.ConnectorStatus, error)
	Failed() []string
	taskViewer
}

// taskViewer shows tasks.
type taskViewer interface {
	TaskStatus(id worker.TaskID) (worker.TaskStatus, error)
	TaskConfigs(name string) ([]worker.TaskInfo, error)
	Details(name string) ([]worker.TaskDetails, error)
	Attending(name string) []string
	Hosts(name string) []string
}

// changer changes connectors.
type changer interface {
	editor
	operator
	postman
	leveller
}

// editor changes which connectors there are.
type editor interface {
	Create(ctx context.Context, r worker.CreateRequest) (worker.ConnectorInfo, error)
	PutConfig(ctx context.Context, name string, config connect.Config) (info worker.ConnectorInfo, created bool, err error)
	PatchConfig(ctx context.Context, name string, patch map[string]*string) (worker.ConnectorInfo, error)
	Delete(ctx context.Context, name string, drop bool) (message string, err error)
}

// operator changes what connectors do.
type operator interface {
	SetState(ctx context.Context, name string, state worker.TargetState) error
	Restart(ctx context.Context, name string, o worker.RestartOptions) (*worker.ConnectorStatus, error)
	RestartTask(ctx context.Context, id worker.TaskID) error
	Signal(name string, signal []byte) error
	Remedy(ctx context.Context, name, remedy string) (message string, err error)
}

// postman shows what connectors could not write, and has them try again.
type postman interface {
	Letters(ctx context.Context, name string, q worker.LetterQuery) (topic string, letters []worker.Letter, more bool, err error)
	StartReplay(ctx context.Context, name string, q worker.LetterQuery) (worker.Replay, error)
	ReplayOf(ctx context.Context, name string) (worker.Replay, error)
	StopReplay(ctx context.Context, name string) (worker.Replay, error)
}

// leveller sets levels of loggers in all workers.
type leveller interface {
	SetLevel(ctx context.Context, logger, level string) error
}

// offsetKeeper shows and changes positions.
type offsetKeeper interface {
	Offsets(ctx context.Context, name string) ([]worker.OffsetEntry, error)
	AlterOffsets(ctx context.Context, name string, entries []worker.OffsetEntry) (message string, err error)
	ResetOffsets(ctx context.Context, name string) (message string, err error)
	historian
	topicKeeper
}

// historian shows earlier positions, and goes back to them.
type historian interface {
	OffsetHistory(ctx context.Context, name string) ([]worker.PastOffsets, error)
	RewindOffsets(ctx context.Context, name string, to int64, dry bool) (changes []worker.OffsetChange, message string, err error)
}

// topicKeeper shows topics and what is in them.
type topicKeeper interface {
	Topics(name string) ([]string, error)
	ResetTopics(ctx context.Context, name string) error
	Peek(ctx context.Context, name, topic string, limit int) (records []worker.Peeked, whole bool, err error)
}

// host is the worker itself: who it is, which plugins it has, and what it says of
// configurations.
type host interface {
	Info() worker.ServerInfo
	Health(ctx context.Context) worker.Health
	Plugins() []worker.PluginInfo
	PluginConfig(class, version string) ([]connect.ConfigKey, error)
	Validate(ctx context.Context, class string, config connect.Config) (worker.Validation, error)
}

var _ Herder = (*worker.Herder)(nil)
