package transforms

import "github.com/tidemill/tidemill/connect"

// kafka is where Kafka Connect's own transforms live.
const kafka = "org.apache.kafka.connect.transforms."

// Plugins returns the transforms.
func Plugins() []connect.Plugin[connect.Transform] {
	var list []connect.Plugin[connect.Transform]
	for _, entries := range [][]connect.Plugin[connect.Transform]{
		castPlugins(),
		dropHeadersPlugins(),
		eventRouterPlugins(),
		extractFieldPlugins(),
		extractNewRecordStatePlugins(),
		filterPlugins(),
		flattenPlugins(),

		headerFromPlugins(),
		hoistFieldPlugins(),
		insertFieldPlugins(),
		insertHeaderPlugins(),
		maskFieldPlugins(),
		regexRouterPlugins(),
		replaceFieldPlugins(),
		setSchemaMetadataPlugins(),
		timestampConverterPlugins(),
		timestampRouterPlugins(),
		valueToKeyPlugins(),
	} {
		list = append(list, entries...)
	}
	return list
}

// Predicates returns the predicates.
func Predicates() []connect.Plugin[connect.Predicate] {
	var list []connect.Plugin[connect.Predicate]
	for _, entries := range [][]connect.Plugin[connect.Predicate]{
		hasHeaderKeyPredicates(),
		recordIsTombstonePredicates(),
		topicNameMatchesPredicates(),
	} {
		list = append(list, entries...)
	}
	return list
}

// one is the entry of a transform of whole records.
func one(class, doc string, config *connect.ConfigDef, build func() connect.Transform) []connect.Plugin[connect.Transform] {
	return []connect.Plugin[connect.Transform]{{Class: class, Doc: doc, Config: config, New: build}}
}

// both are the entries of a transform that works on keys or on values.
func both(name, doc string, config *connect.ConfigDef, build func(side) connect.Transform) []connect.Plugin[connect.Transform] {
	return []connect.Plugin[connect.Transform]{
		{Class: kafka + name + "$Key", Doc: doc, Config: config, New: func() connect.Transform { return build(onKey) }},
		{Class: kafka + name + "$Value", Doc: doc, Config: config, New: func() connect.Transform { return build(onValue) }},
	}
}

// predicate is the entry of a predicate.
func predicate(name, doc string, config *connect.ConfigDef, build func() connect.Predicate) []connect.Plugin[connect.Predicate] {
	return []connect.Plugin[connect.Predicate]{{Class: kafka + "predicates." + name, Doc: doc, Config: config, New: build}}
}
