# Names in capitals are variables, with defaults in parentheses: make fuzz FUZZTIME=5m
#
# make run             see igproxy work: a stand-in for Meta and a sidecar in one process (needs only Go)
# make build           build ./igproxy
# make test            install what is missing (a C compiler, Redis, nginx, OpenSSL), then run all tests of igproxy itself
# make test-all        make test, then install client libraries, a browser, load tools, promtool and systemd-analyze, and run the tests with them
# make faults          run the tests of docs/faults.md, and print its table with a tick for each row whose tests pass
# make lint            run gofmt, go vet, staticcheck and the security linters of .golangci.yml, and check that go.mod is tidy
# make fuzz            fuzz each target for FUZZTIME (30s), a time or a number of inputs (5000x); make test runs only the seeds and the inputs in testdata/fuzz
# make soak            cause all faults in random order under load, for SOAK (10m); SEED, which each run prints, repeats the random choices of that run
# make load            load a sidecar on loopback with wrk and vegeta for LOAD (10) seconds each, and with hey; then print the sidecar's own figures
# make bench           run the benchmarks of breaker, cache and proxy COUNT (6) times each, and compare times and allocations with tools/bench/baseline.txt
# make bench-baseline  rewrite tools/bench/baseline.txt; the times depend on the machine, the numbers of allocations do not
# make bench-peers     compare igproxy with nginx, Varnish, bare handlers of net/http and fasthttp, and an epoll loop in C, for docs/performance.md;
#                      needs Linux, 2 cores and a C compiler, and takes about 30 minutes; PEERS=-quick takes about 12
# make bench-fleet     measure calls, Redis commands and latencies of many sidecars on one Redis
# make ship-check      check the deployment files with the code of the programs that read them, compare two builds of one commit, unpack a Debian package

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
FUZZTIME ?= 30s
SOAK ?= 10m
SEED ?=
LOAD ?= 10
COUNT ?= 6
PEERS ?=

.PHONY: run test test-all faults lint bench bench-baseline bench-peers bench-fleet fuzz soak load build deps ship-check
.DEFAULT_GOAL := build

# At a terminal the demo gets its own process group, so that Ctrl-C ends the demo without an error
# from make.
run:
	@CGO_ENABLED=0 go build -C cmd/igproxy -o ../../tools/bin/igproxy
	@if [ -t 0 ]; then set -m; fi; tools/bin/igproxy demo; exit $$?

# The tag leaves out urfave/cli's Markdown parser, which igproxy does not use.
build:
	CGO_ENABLED=0 go build -tags=urfave_cli_no_docs -trimpath -ldflags='-s -w' -o igproxy ./cmd/igproxy

deps:
	tools/deps.sh

# The tests in ./integration start igproxy as a process, built with the race detector. Tests that
# need third-party programs are in the folders below ./integration, and run in test-all. Three
# things save time: igproxy is compiled while missing programs are installed, tests that mostly wait
# run beside tests that compute (-p=4), and go vet is left to make lint (-vet=off).
test:
	@echo "== install what is missing, and compile igproxy"
	@CGO_ENABLED=0 go build ./... & compiling=$$!; tools/deps.sh || { kill $$compiling; exit 1; }; wait $$compiling
	@echo "== each package, with the race detector"
	go test -race -count=1 -vet=off -p=4 $$(go list ./... | grep -v /integration)
	@echo "== the built igproxy with real Redis, nginx, TLS and sockets"
	@CGO_ENABLED=0 go build -C tools -o bin/progress ./progress
	CGO_ENABLED=0 go test -count=1 -vet=off -parallel=6 -timeout=15m -json ./integration | tools/bin/progress

test-all: test
	tools/deps.sh all
	@echo "== third-party programs: clients, browser, load tools, promtool, systemd-analyze"
	go test -C tools -count=1 ./peers
	go test -count=1 -timeout=15m $$(go list ./... | grep '/integration/[^h]')

faults: deps
	@go run -C tools ./faults

# lint needs the network only for the modules that the go.sum files pin. It does not run govulncheck,
# which reads a database on the network: the same tree could pass today and fail tomorrow.
# SECURITY.md says how to run govulncheck.
lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go mod tidy -diff
	go tool -modfile=tools/go.mod staticcheck ./...
	go tool -modfile=tools/golangci/go.mod golangci-lint run ./...
	cd tools && go vet ./... && go tool staticcheck ./...

BENCH = go test -run='^$$' -bench=. -benchmem -benchtime=0.5s -count=$(COUNT) ./breaker ./cache ./proxy

bench:
	@mkdir -p tools/bin
	$(BENCH) | tee tools/bin/bench.txt
	go tool -modfile=tools/go.mod benchstat tools/bench/baseline.txt tools/bin/bench.txt

bench-baseline:
	@mkdir -p tools/bench
	$(BENCH) | tee tools/bench/baseline.txt

bench-peers: build
	tools/deps.sh peers
	@go build -C tools -o bin/peers ./peers && cd tools && bin/peers $(PEERS)

bench-fleet:
	go test -run='^$$' -bench=Fleet -benchtime=1x ./integration

fuzz:
	tools/fuzz.sh $(FUZZTIME)

soak: deps
	IGPROXY_SOAK=$(SOAK) IGPROXY_SOAK_SEED=$(SEED) go test -race -count=1 -timeout=0 -v -run='^TestSoakWithAllFaults$$' ./integration

load:
	tools/deps.sh all
	LOAD=$(LOAD) integration/load/live.sh

ship-check:
	tools/ship-check.sh
