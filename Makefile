# Tidemill. `make demo` and `make test` do all of their own set-up.
GO      ?= go
BIN     := bin/tidemill
VERSION ?= 0.1.0-$(shell git rev-parse --short HEAD 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: build demo test test-kafka lint bench bench-quick bench-micro torture torture-netns torture-mutants torture-sweep sim setup clean

build: ## bin/tidemill, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/tidemill

setup: ## PostgreSQL's server binaries, when the machine has none
	@./.ci/setup

demo: setup build ## the main job, end to end, in a temporary directory
	$(BIN) demo --once

test: setup ## everything with the race detector, on loopback
	$(GO) vet ./...
	$(GO) test -race -timeout 14m ./...

test-kafka: setup ## the broker-facing tests against a real Apache Kafka
	@./internal/testenv/kafka/run

.PHONY: test-takeover test-fleet
test-takeover: setup ## a worker of Kafka Connect is taken over by ours, and comes back (Java, Maven); about two minutes
	@./internal/testenv/kafka/run --takeover

test-fleet: setup ## workers on three brokers of a real Apache Kafka, one of which is killed
	@TIDEMILL_TEST_NODES=3 TIDEMILL_TEST_PACKAGES=./rest TIDEMILL_TEST_RUN='^TestFleet' ./internal/testenv/kafka/run

.PHONY: test-netns
test-netns: ## workers in network namespaces, which are cut off from the brokers (Linux); KAFKA=1: three brokers of Apache Kafka
	@./internal/testenv/netns/run $(if $(KAFKA),--kafka)

lint:
	$(GO) vet ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }

bench: setup build ## every load beside its limit in the same run; about half an hour
	$(GO) build -o bin/bench ./bench && $(GO) build -o bin/bench-application ./bench/application
	bin/bench --out bench/out/bench.json

bench-quick: setup build ## the same in small, within a minute
	$(GO) build -o bin/bench ./bench && $(GO) build -o bin/bench-application ./bench/application
	bin/bench --quick --out bench/out/quick.json

.PHONY: bench-debezium bench-kstreams bench-state bench-report
bench-debezium: setup build ## the same loads through Debezium in Kafka Connect (Java, Maven); about six minutes
	$(GO) build -o bin/bench ./bench && $(GO) build -o bin/bench-application ./bench/application
	bin/bench --only debezium --out bench/out/debezium.json

bench-kstreams: build ## the same applications in Kafka Streams (Java, Maven); about forty minutes
	$(GO) build -o bin/bench ./bench && $(GO) build -o bin/bench-application ./bench/application
	bin/bench --only kstreams --out bench/out/kstreams.json

bench-state: build ## 5 GB of state taken over by a standby and restored, every row compared (Java, Maven; 25 GB of disk); about half an hour
	$(GO) build -o bin/bench ./bench && $(GO) build -o bin/bench-application ./bench/application
	bin/bench --only streams --streams takeover --state-mb $(or $(MB),5000) --kafka apache --out bench/out/state.json

bench-report: ## docs/performance.md and its plots, from what the three above have written
	$(GO) run ./bench --report

bench-micro: ## decode, convert, transform, state; for benchstat
	$(GO) test -run '^$$' -bench . -benchmem -count $(or $(COUNT),6) ./sources/postgres ./converters/... ./transforms ./streams/state ./streams/window ./streams/join

# Flags of torture/main.go go into FLAGS, such as FLAGS='-faults w.kill,pg.crash -json'.
DURATION ?= 60s
SEED     ?= 1
MODE     ?= eos
# STREAMS=on has a streams application run beside it, which fails too and is recounted.
STREAMS  ?= off
# WORKERS share the work as a fleet.
WORKERS  ?= 1
# LOUD=1 adds faults that lose data by their nature: slots, publications and servers are lost.
TORTURE   = -duration $(DURATION) -seed $(SEED) -mode $(MODE) -streams $(STREAMS) -workers $(WORKERS) $(if $(LOUD),-loud) $(FLAGS)
torture: setup build ## everything fails, over and over; nothing may be lost, torn or doubled
	@$(GO) build -o bin/torture ./torture
	@bin/torture $(TORTURE)

torture-netns: WORKERS = 3
torture-netns: setup build ## the same with three workers in network namespaces, whose cables are pulled too (Linux)
	@$(GO) build -o bin/torture ./torture
	@internal/testenv/netns/run bin/torture $(TORTURE) -netns

torture-mutants: setup ## seeded bugs, each of which the torture must find
	@$(GO) run ./torture mutants $(FLAGS)

torture-sweep: setup ## the worker dies, stands still and fails once at each failpoint
	@$(GO) run ./torture sweep $(FLAGS)

sim: ## hours of virtual time in a minute: SEEDS=64 HOURS=2 SEED=1 LOGS=directory
	@./torture/sim/run

clean:
	rm -rf bin dist torture-out
