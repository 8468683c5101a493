# Tidemill. `make demo` and `make test` do all of their own set-up.
GO      ?= go
BIN     := bin/tidemill
VERSION ?= 0.1.0-$(shell git rev-parse --short HEAD 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: build demo test test-kafka lint bench setup clean

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

lint:
	$(GO) vet ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }

bench: setup build ## ratios against a limit in the same run
	$(GO) run ./bench

clean:
	rm -rf bin dist
