package worker

import (
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// The records that are written.

func connectorEntry(name string, config connect.Config) kafkalog.Entry {
	return propertiesEntry(connectorPrefix+name, config)
}

func taskEntry(id TaskID, config connect.Config) kafkalog.Entry {
	return propertiesEntry(taskPrefix+id.String(), config)
}

func propertiesEntry(key string, config connect.Config) kafkalog.Entry {
	return kafkalog.Entry{Key: []byte(key), Value: appendJSON(nil, map[string]connect.Config{"properties": config})}
}

func commitEntry(name string, tasks int) kafkalog.Entry {
	return kafkalog.Entry{Key: []byte(commitPrefix + name), Value: appendJSON(nil, map[string]int{"tasks": tasks})}
}

func targetEntry(name string, state TargetState) kafkalog.Entry {
	old := state
	if state == Stopped {
		old = Paused // What workers that do not know STOPPED come nearest to.
	}
	v := struct {
		State   TargetState `json:"state"`
		StateV2 TargetState `json:"state.v2"`
	}{old, state}
	return kafkalog.Entry{Key: []byte(targetPrefix + name), Value: appendJSON(nil, v)}
}

func fencingEntry(name string, tasks int) kafkalog.Entry {
	return kafkalog.Entry{Key: []byte(fencingPrefix + name), Value: appendJSON(nil, map[string]int{"task-count": tasks})}
}

func restartEntry(name string, o RestartOptions) kafkalog.Entry {
	v := struct {
		IncludeTasks bool `json:"include-tasks"`
		OnlyFailed   bool `json:"only-failed"`
	}{o.IncludeTasks, o.OnlyFailed}
	return kafkalog.Entry{Key: []byte(restartPrefix + name), Value: appendJSON(nil, v)}
}

func loggerEntry(name, level string) kafkalog.Entry {
	return kafkalog.Entry{Key: []byte(loggerPrefix + name), Value: appendJSON(nil, map[string]string{"level": level})}
}

func deleteEntries(name string) []kafkalog.Entry {
	return []kafkalog.Entry{{Key: []byte(connectorPrefix + name)}, {Key: []byte(targetPrefix + name)}}
}
