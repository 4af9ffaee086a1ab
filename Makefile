# Battery Gate. `make` lists what can be done.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The Go that builds this; older ones have known holes in their standard library.
export GOTOOLCHAIN := go1.27.3
export CGO_ENABLED ?= 1

BIN := bin/batterygate
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help build dev test unit race lint fuzz bench e2e tools image soak

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/batterygate
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/batterygate

dev: build ## run everything on loopback: a WorkOS stand-in, a gateway, demo apps, Battery Gate
	$(BIN) dev $(DEV_FLAGS)

test: tools unit e2e ## all that CI runs: every test, real gateways and a real browser

unit: ## vet, and every room's tests under the race detector
	go vet ./...
	go test -race -timeout 10m ./...

race: unit ## the same as unit: the race detector is always on

# What drives the built binary: gateways and browser, crashes and storms, and
# what judges the WorkOS stand-in. Two at a time, because most of a test is
# waiting; -v, so that a skip is seen.
e2e: build tools ## the built binary: behind real gateways, in a real browser, killed, and in storms
	cd deploy/e2e && go vet ./... && BATTERYGATE_BIN=$(CURDIR)/$(BIN) go test -count=1 -timeout 20m -p 2 -v ./...

tools: ## fetch what the tests need, pinned, into .tools/ (Chromium, wrk and strace from Debian, as root)
	deploy/tools.sh
	deploy/e2e/oracles/tools.sh
	deploy/e2e/oidc/fetch.sh

lint: ## golangci-lint, pinned
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...

FUZZTIME ?= 60s
fuzz: ## run each fuzz target for FUZZTIME (default 60s)
	@for pkg in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

soak: build tools ## long runs: properties with 10,000 cases, fuzzing 10 minutes a target
	go test -race -count 1 -timeout 120m $$(go list -f '{{if .XTestGoFiles}}{{.Dir}} {{end}}' ./... | xargs grep -l --include='*_test.go' -r 'pgregory.net/rapid' | xargs -n1 dirname | sort -u) -rapid.checks=10000
	cd deploy/e2e/harness && SOAK=1 BATTERYGATE_BIN=$(CURDIR)/$(BIN) go test -count=1 -timeout 120m -v ./...
	cd deploy/e2e/oracles && go test -count=1 -timeout 60m ./... -walk.steps=20000
	$(MAKE) fuzz FUZZTIME=10m

bench: build tools ## speed, as ratios against the no-op floor in the same run
	go run ./cmd/batterygate/bench $(BENCH_FLAGS)

image: ## container image (needs Docker)
	docker build -f deploy/Dockerfile --build-arg VERSION=$(VERSION) -t batterygate:$(VERSION) .
