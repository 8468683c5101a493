package main

import (
	"slices"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/converters/raw"
	filesink "github.com/tidemill/tidemill/sinks/file"
	pgsink "github.com/tidemill/tidemill/sinks/postgres"
	"github.com/tidemill/tidemill/sources/datagen"
	pgsource "github.com/tidemill/tidemill/sources/postgres"
	"github.com/tidemill/tidemill/transforms"
	// T	"github.com/tidemill/tidemill/transforms"
)

// plugins is the list of all plugins: one line for each room that has some. fileDirs
// are the directories below which file sinks may write.
func plugins(fileDirs []string) connect.Plugins {
	return connect.Plugins{
		Sources: []connect.Plugin[connect.SourceConnector]{
			pgsource.Plugin(),
			datagen.Plugin(),
		},
		Sinks: slices.Concat(
			[]connect.Plugin[connect.SinkConnector]{filesink.Plugin(filesink.Options{Dirs: fileDirs})},
			pgsink.Plugins(),
		),
		Transforms: transforms.Plugins(),
		Predicates: transforms.Predicates(),
		Converters: slices.Concat(
			avro.Plugins(),
			json.Plugins(),
			raw.Plugins(),
		),
		HeaderConverters: slices.Concat(
			raw.HeaderPlugins(),
			json.HeaderPlugins(),
		),
	}
}
