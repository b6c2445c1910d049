# Millrace. `make help` lists what there is.
SHELL := /bin/bash
GO ?= go
GOLANGCI_VERSION := v2.15.0
TOOLS := $(CURDIR)/bin
FUZZTIME ?= 10s

# Counts what `go build -v` compiles and fetches; shows all else, such as errors, as it is.
PROGRESS := awk '/^go: downloading/ {d++; next} /^[A-Za-z0-9_.\/~-]+$$/ {n++; if (n % 50 == 0) {printf "  %d packages compiled, %d modules fetched\n", n, d; fflush()} next} {print; fflush()}'

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## compile everything; the first time fetches and compiles dependencies for some minutes
	@echo "compiling (a cold build fetches and compiles dependencies: some minutes)"
	@set -o pipefail; $(GO) build -v ./... 2>&1 | $(PROGRESS)
	@mkdir -p bin && $(GO) build -o bin/millrace ./knative/local

.PHONY: run
run: ## the whole pipeline on this machine: http://127.0.0.1:8080, data in .millrace; ARGS="-tick 5s" passes flags
	@echo "building the local platform (a cold build fetches and compiles dependencies: some minutes)"
	@mkdir -p bin
	@set -o pipefail; $(GO) build -v -o bin/millrace ./knative/local 2>&1 | $(PROGRESS)
	@exec bin/millrace $(ARGS)

.PHONY: test
test: ## all tests that need nothing but Go, shuffled
	@[ "$$($(GO) env CGO_ENABLED)" = 1 ] || echo "no C compiler: what needs DuckDB (curate) is left out"
	$(GO) test -shuffle=on -timeout 10m ./...

.PHONY: race
race: ## the same with the race detector, which needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -short -shuffle=on -timeout 20m ./...

.PHONY: lint
lint: $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) ## golangci-lint, pinned; and traps in manifests, which `go run ./knative/local lint --help` explains
	$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) run ./...
	$(GO) run ./knative/local lint

$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION):
	@echo "building golangci-lint $(GOLANGCI_VERSION) (some minutes, once)"
	GOBIN=$(TOOLS) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@

.PHONY: fuzz
fuzz: ## every fuzz test for FUZZTIME (10s)
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## the figures that README claims beside their bounds, with real servers too where they are named; ARGS=--sustained; needs Linux
	$(GO) run ./functions/internal/figures $(ARGS)

.PHONY: integration
integration: ## against real servers: KAFKA_BROKERS, ELASTICSEARCH_URL, S3_ENDPOINT, AWS_*, POSTGRES_DSN, TRINO_URL, SUPERSET_* name them
	@: $${KAFKA_BROKERS:?names no Kafka} $${ELASTICSEARCH_URL:?names no Elasticsearch} $${S3_ENDPOINT:?names no object store}
	@: $${POSTGRES_DSN:?names no PostgreSQL} $${TRINO_URL:?names no Trino} $${SUPERSET_URL:?names no Superset}
	$(GO) test -tags integration -count=1 -timeout 45m ./...

.PHONY: gameday
gameday: ## break the pipeline on real servers of its own and count what is lost; ARGS=-short takes four minutes
	@mkdir -p bin && $(GO) build -o bin/gameday ./functions/internal/gameday
	@exec bin/gameday $(ARGS)

.PHONY: check
check: build lint test race ## what CI runs, besides integration
