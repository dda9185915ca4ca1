# `make help` lists the targets. What they need beyond Go is in CONTRIBUTING.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GO ?= go
# Tools are built here, each under a name with its version.
TOOLS ?= $(CURDIR)/.tools
# Where the lab leaves what its tests wrote.
ARTIFACTS ?= $(CURDIR)/.lab-artifacts
# Processors of a machine of the lab, and options of every one; lab/run --help lists them.
LAB_CPUS ?= 2
LAB_FLAGS ?= --cpus $(LAB_CPUS) --mem 6144
# Seconds until a test in the lab is ended.
LAB_TIMEOUT ?= 4500
# Machines of the lab at the same time, each with the memory of LAB_FLAGS: two where there is room for them.
LAB_JOBS ?= $(shell awk '/^MemAvailable/ {if ($$2 > 15000000) print 2; else print 1}' /proc/meminfo)
# Processors of each of them: where two emulated ones wait for one of ours they hold each other's locks meanwhile, and get less done than one.
LAB_SHARE ?= $(shell nproc | awk '{n = int($$1 / $(LAB_JOBS)); print (n < 1 ? 1 : n > 2 ? 2 : n)}')
# Which of the lab's tests to run, a regular expression.
RUN ?= .
FUZZTIME ?= 10s
# Fuzz targets at the same time.
FUZZ_JOBS ?= 1
BENCHTIME ?= 1s
# Options of `make bench`: --size 4GiB --sweep 1GiB --repeat 5 --only 'comparison|part' --dir /fast
BENCH_FLAGS ?=
# Options of `make bench-lab` and `make bench-account`: --sizes 256MiB,512MiB,1GiB,2GiB --change 32MiB --scratch /var/tmp --only pgresync
BENCH_LAB_FLAGS ?=
BENCH_LAB_TIMEOUT ?= 7200
# The database of vulnerabilities, file:///… for a copy of it, and options of scripts/vulncheck.
VULNDB ?=
VULNCHECK_FLAGS ?=
SIM_EVERY ?= 1
SIM_RANDOM ?= 3000
# Least coverage in percent of the pure packages.
COVER_MIN ?= 90

GOLANGCI_LINT_VERSION := v2.15.0
NATSCLI_VERSION := v0.5.1
GOVULNCHECK_VERSION := v1.9.0
# The last with which no module comes from a host that few proxies serve.
NFPM_VERSION := v2.45.2
CYCLONEDX_VERSION := v1.10.0
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
NATS := $(TOOLS)/nats-$(NATSCLI_VERSION)
GOVULNCHECK := $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)
NFPM := $(TOOLS)/nfpm-$(NFPM_VERSION)
CYCLONEDX := $(TOOLS)/cyclonedx-gomod-$(CYCLONEDX_VERSION)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X github.com/pgresync/pgresync/internal/daemon.version=$(VERSION)
# Binaries run in machines and containers that are not this one.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
BUILD_TEST := CGO_ENABLED=0 $(GO) test -c -trimpath

# Go's race detector waits a second at the exit of every raced program, fakes included.
export GORACE ?= atexit_sleep_ms=0
TEST := $(GO) test -race -shuffle=on -timeout 15m

# These need a real ZFS for a part of their tests, which therefore skip outside the lab.
LAB_PACKAGES := ./zfsops/... ./e2e/...
PURE_PACKAGES := ./messages ./internal/plan ./internal/resync

.PHONY: help
help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## builds the sidecars into bin/
	$(BUILD) -o bin/ ./cmd/...

.PHONY: tools
tools: $(GOLANGCI_LINT) $(NATS) ## builds the pinned linter and nats CLI, unless they are there

# install_tool PACKAGE@VERSION NAME
define install_tool
	@echo "building $(1); this happens once"
	@mkdir -p '$(TOOLS)/new-$(2)'
	@GOFLAGS= CGO_ENABLED=0 GOBIN='$(TOOLS)/new-$(2)' $(GO) install $(1)
	@mv '$(TOOLS)/new-$(2)/$(2)' '$@' && rmdir '$(TOOLS)/new-$(2)'
endef

$(GOLANGCI_LINT):
	$(call install_tool,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION),golangci-lint)

$(NATS):
	$(call install_tool,github.com/nats-io/natscli/nats@$(NATSCLI_VERSION),nats)

# The stock server, of the version that the tests link.
define INSTALL_SERVER
	@GOFLAGS= CGO_ENABLED=0 GOBIN='$(CURDIR)/bin' $(GO) install \
		github.com/nats-io/nats-server/v2@$$($(GO) list -m -f '{{.Version}}' github.com/nats-io/nats-server/v2)
endef

$(GOVULNCHECK):
	$(call install_tool,golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION),govulncheck)

$(NFPM):
	$(call install_tool,github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION),nfpm)

$(CYCLONEDX):
	$(call install_tool,github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION),cyclonedx-gomod)

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## known vulnerabilities in what is linked, by VULNDB, or https://vuln.go.dev, hence not part of test
	GOVULNCHECK='$(GOVULNCHECK)' VULNDB='$(VULNDB)' scripts/vulncheck $(VULNCHECK_FLAGS)

.PHONY: prerequisites
prerequisites:
	@scripts/prerequisites

.PHONY: lint
lint: $(GOLANGCI_LINT) ## checks style, import directions and sizes
	$(GOLANGCI_LINT) run --allow-parallel-runners ./...
	@if command -v shellcheck >/dev/null; then shellcheck scripts/* .ci/run; fi

.PHONY: unit
unit: prerequisites ## unit tests and those against real PostgreSQL and NATS, with the race detector
	PGRESYNC_TEST_MUST_RUN=1 $(TEST) $$($(GO) list ./... | grep -Ev '/(zfsops|e2e)(/|$$)')
	$(TEST) $(LAB_PACKAGES)

.PHONY: test-fast
test-fast: lint unit ## all that needs no ZFS: lint and unit

.PHONY: lab-binaries
lab-binaries: build $(NATS)
	$(BUILD_TEST) -o bin/zfsops.test ./zfsops
	$(BUILD_TEST) -o bin/e2e.test ./e2e
	$(INSTALL_SERVER)
	@cp '$(NATS)' bin/nats

.PHONY: compose-binaries
compose-binaries: lab-binaries ## builds what docker-compose.test.yml copies into its image

# What a test or the demo finds beside itself in the lab.
PUT := --put bin/primary-sidecar --put bin/secondary-sidecar --put bin/pgresync --put bin/nats --put bin/nats-server

.PHONY: test-zfs
test-zfs: lab-binaries ## zfsops against real OpenZFS, in the lab
	lab/run $(LAB_FLAGS) --timeout $(LAB_TIMEOUT) --put bin/zfsops.test --env PGRESYNC_TEST_MUST_RUN=1 \
		-- ./zfsops.test -test.timeout $(LAB_TIMEOUT)s -test.run '$(RUN)'

# SEPARATE=yes has the standbys' sidecars run in two parts, which not all tests can.
SEPARATE ?= no
# Rounds of fail-over, up to five; each kind has come once after three.
ROUNDS ?= 5

# world TESTS NAME [OPTIONS]: runs tests of e2e in the lab; what they wrote goes to a directory with the name.
define world
	lab/run $(LAB_FLAGS) --timeout $(LAB_TIMEOUT) $(PUT) --put bin/e2e.test --env PGRESYNC_TEST_MUST_RUN=1 \
		--env PGRESYNC_TEST_SEPARATE=$(SEPARATE) --artifacts '$(ARTIFACTS)/$(2)' $(3) -- ./e2e.test -test.v -test.timeout $(LAB_TIMEOUT)s -test.run '$(1)'
endef

.PHONY: test-e2e
test-e2e: lab-binaries ## several nodes with real everything, in the lab; RUN chooses other tests or parts
	$(call world,$(if $(filter .,$(RUN)),TestPromises,$(RUN)),e2e)

.PHONY: test-crashes
test-crashes: lab-binaries ## sidecars killed where it hurts, in the lab; `make test-faults` does so everywhere
	$(call world,TestCrashes,crashes)

.PHONY: test-failover
test-failover: lab-binaries ## ROUNDS of fail-over under load (5), in the lab
	$(call world,TestFailover/^(round [1-$(ROUNDS)]|a),failover)

.PHONY: test-layouts
test-layouts: lab-binaries ## whether the WAL travels, for each layout, in the lab
	$(call world,TestWhetherTheWALTravels,layouts)

.PHONY: test-newcomer
test-newcomer: lab-binaries ## docs/getting-started.md and docs/doctor.md, command by command, in the lab
	$(call world,TestNewcomer,newcomer,--put docs/getting-started.md --put docs/doctor.md)

.PHONY: test-cures
test-cures: lab-binaries ## damaged data replaced without a transfer, another log on the same timeline found, replay that lags overtaken, in the lab
	$(call world,TestCures|TestFastForward,cures)

.PHONY: test-host
test-host: lab-binaries ## a configuration outside of the data directory, control by three commands, hooks, a busy mount, tracking, in the lab
	$(call world,TestHost,host)

.PHONY: test-encrypted
test-encrypted: lab-binaries ## encrypted datasets, sent raw to a standby whose operator loads the key, in the lab
	$(call world,TestEncryptedDatasets,encrypted)

.PHONY: test-modes
test-modes: lab-binaries ## the modes for pools without room for two copies, in the lab
	$(call world,TestModes,modes)

.PHONY: test-privileges
test-privileges: lab-binaries ## both sidecars with no more rights than docs/unprivileged.md gives them, in the lab
	$(call world,$(if $(filter .,$(RUN)),TestPrivileges|TestSeparation,$(RUN)),privileges,--put bin/pgresync-sign --put docs/unprivileged.md)

.PHONY: test-compose
test-compose: lab-binaries ## brings docker-compose.test.yml up in the lab and resyncs a standby in it
	$(call world,TestCompose,compose,--put docker-compose.test.yml --put e2e/compose/node:compose-node)

# What a stream weighs, how often it is sent, and how often each process is killed.
STREAM_MIB ?= 1024
STREAM_ROUNDS ?= 20
STREAM_KILLS ?= 50

# Which faults, as go test -run has it: FAULT='kill-sidecar/switching', FAULT='(reboot|cut-1s)', FAULT='cut-10m/receiving'; those of ten
# minutes each only when FAULT is given. SEED chooses where exactly they strike.
FAULT ?=
SEED ?= 1
FAULTS_TIMEOUT ?= 14400

.PHONY: faults-binaries
faults-binaries: lab-binaries
	$(BUILD_TEST) -o bin/faults.test ./e2e/faults
	$(BUILD) -o bin/soak ./e2e/soak

.PHONY: test-faults
test-faults: faults-binaries ## faults in every row and phase of the state machine, in the lab; hours. FAULT='kill-sidecar/switching' SEED=7 repeats one
	lab/run $(LAB_FLAGS) --timeout $(FAULTS_TIMEOUT) $(PUT) --put bin/faults.test --env PGRESYNC_TEST_SEED=$(SEED) --env PGRESYNC_TEST_LONG='$(FAULT)' \
		--artifacts '$(ARTIFACTS)/faults' -- ./faults.test -test.v -test.timeout $(FAULTS_TIMEOUT)s -test.run 'TestFaults/$(FAULT)'

# How long.
SOAK ?= 1h
SOAK_TIMEOUT ?= 14400

.PHONY: soak
soak: faults-binaries ## random faults under load, the promises looked at all the time, in the lab: SOAK=1h SEED=1
	lab/run $(LAB_FLAGS) --timeout $(SOAK_TIMEOUT) $(PUT) --put bin/soak --artifacts '$(ARTIFACTS)/soak' -- ./soak -for $(SOAK) -seed $(SEED)

.PHONY: test-stream-faults
test-stream-faults: ## faults of the data plane at full size: leaders that step down, kill -9; takes an hour
	PGRESYNC_TEST_STREAM_MIB=$(STREAM_MIB) PGRESYNC_TEST_STREAM_ROUNDS=$(STREAM_ROUNDS) PGRESYNC_TEST_STREAM_KILLS=$(STREAM_KILLS) \
		$(GO) test -count 1 -timeout 3h -v -run 'TestLeadersThatKeepSteppingDown|TestWriterAndReaderAreKilled|TestServerIsKilled' ./internal/stream

.PHONY: test-page
test-page: ## the status page in a real Chromium, which it installs on Debian
	@scripts/prerequisites chromium
	PGRESYNC_TEST_PAGE=1 $(GO) test -count 1 -timeout 10m -v ./e2e/page

# How many nodes test-shown has, up to three; the first of the ports by which it looks into the lab; where its pictures go.
SHOWN_NODES ?= 3
SHOWN_PORT ?= 19101
SCREENSHOTS ?= $(CURDIR)/docs

.PHONY: test-shown
test-shown: lab-binaries ## a cluster in the lab, looked at from here: its page in a Chromium, the dashboard's panels by a Prometheus; makes the pictures anew
	@scripts/prerequisites chromium
	GO='$(GO)' scripts/shown $(SHOWN_NODES) $(SHOWN_PORT) '$(SCREENSHOTS)' $(LAB_FLAGS) --timeout $(LAB_TIMEOUT) $(PUT) --put bin/e2e.test \
		--artifacts '$(ARTIFACTS)/shown'

# What is not among these (test-host, test-modes, test-cures, test-layouts, ...) is named in CONTRIBUTING.md: all of it takes an emulated machine hours.
.PHONY: test-lab
test-lab: ## what needs ZFS, in the lab: a machine with real OpenZFS
	$(MAKE) --jobs $(LAB_JOBS) --keep-going LAB_CPUS=$(LAB_SHARE) ROUNDS=3 test-e2e test-crashes test-failover test-privileges test-compose test-zfs

.PHONY: test
test: ## everything that docs/security.md builds on, and more
	$(MAKE) test-fast
	$(MAKE) test-page
	$(MAKE) test-lab

.PHONY: demo
demo: lab-binaries ## shows a broken standby being rebuilt, in the lab
	$(BUILD) -o bin/demo ./e2e/demo
	lab/run $(LAB_FLAGS) --timeout $(LAB_TIMEOUT) $(PUT) --put bin/demo -- ./demo

# What is released, and for whom.
DIST ?= $(CURDIR)/dist
DIST_PLATFORMS ?= linux/amd64 linux/arm64 freebsd/amd64
RELEASE := GO='$(GO)' VERSION='$(VERSION)' DIST_PLATFORMS='$(DIST_PLATFORMS)' NFPM='$(NFPM)' CYCLONEDX='$(CYCLONEDX)'

.PHONY: dist
dist: $(CYCLONEDX) ## static binaries for all platforms, archives, bills of materials and sums, into dist/
	$(RELEASE) scripts/dist '$(DIST)'

.PHONY: packages
packages: dist $(NFPM) ## the deb and the rpm for each Linux platform, into dist/ too
	$(RELEASE) scripts/packages '$(DIST)'

.PHONY: test-reproducible
test-reproducible: $(NFPM) $(CYCLONEDX) ## builds what is released twice, in two places, and compares every byte
	$(RELEASE) scripts/test-reproducible

.PHONY: test-packages
test-packages: packages lab-binaries ## checks the units with systemd-analyze; installs, runs, removes and purges the deb in the lab
	scripts/systemd-tools bin/systemd-tools
	PGRESYNC_TEST_MUST_RUN=1 PGRESYNC_TEST_SYSTEMD_ANALYZE='$(CURDIR)/bin/systemd-tools/systemd-analyze' $(GO) test -count 1 ./packaging
	$(BUILD_TEST) -o bin/packaging.test ./packaging
	cp '$(DIST)'/pgresync_*_amd64.deb bin/pgresync.deb
	lab/run $(LAB_FLAGS) --timeout $(LAB_TIMEOUT) $(PUT) --put bin/packaging.test --put bin/pgresync.deb \
		--env PGRESYNC_TEST_MUST_RUN=1 --env PGRESYNC_TEST_DEB=pgresync.deb --artifacts '$(ARTIFACTS)/packages' \
		-- ./packaging.test -test.v -test.timeout $(LAB_TIMEOUT)s -test.run TestDeb

.PHONY: test-patroni
test-patroni: lab-binaries ## Debian's Patroni makes a replica with pgresync, again, and without it, in the lab
	scripts/patroni-tools bin/patroni-tools
	$(BUILD_TEST) -o bin/patroni.test ./contrib/patroni
	lab/run $(LAB_FLAGS) --timeout $(LAB_TIMEOUT) $(PUT) --put bin/patroni.test --put bin/patroni-tools --put contrib/patroni/pgresync-seed \
		--env PGRESYNC_TEST_MUST_RUN=1 --artifacts '$(ARTIFACTS)/patroni' -- ./patroni.test -test.v -test.timeout $(LAB_TIMEOUT)s

.PHONY: bench-binaries
bench-binaries: $(NATS)
	$(BUILD) -o bin/bench-native ./bench/native
	$(BUILD) -o bin/bench-plot ./bench/plot
	$(BUILD) -o bin/bench-increment ./bench/increment
	$(INSTALL_SERVER)
	@cp '$(NATS)' bin/nats

.PHONY: bench
bench: bench-binaries ## the data path beside cat, TCP and nats object put and get, native; docs/performance.md explains
	@mkdir -p bench-results
	bin/bench-native $(BENCH_FLAGS) --out bench-results/native.json

# What the benchmarks find beside themselves in the lab.
BENCH_PUT := --put bin/primary-sidecar --put bin/secondary-sidecar --put bin/nats --put bin/nats-server --put bin/bench-lab --put bin/bench-tools

.PHONY: bench-lab-binaries
bench-lab-binaries: build bench-binaries
	$(BUILD) -o bin/bench-lab ./bench/lab
	scripts/bench-tools bin/bench-tools

.PHONY: bench-lab
bench-lab: bench-lab-binaries ## resyncs beside zfs send and recv, syncoid, rsync, pg_basebackup and pg_rewind, in the lab
	lab/run $(LAB_FLAGS) --timeout $(BENCH_LAB_TIMEOUT) $(BENCH_PUT) --artifacts bench-results/lab -- ./bench-lab compare $(BENCH_LAB_FLAGS)

.PHONY: bench-account
bench-account: bench-lab-binaries ## what is in an increment, by layout and settings, in the lab
	lab/run $(LAB_FLAGS) --timeout $(BENCH_LAB_TIMEOUT) $(BENCH_PUT) --artifacts bench-results/account -- ./bench-lab account $(BENCH_LAB_FLAGS)

.PHONY: bench-down
bench-down: bench-lab-binaries ## how long a standby is down in a resync, and when PostgreSQL is merely stopped and started, in the lab
	lab/run $(LAB_FLAGS) --timeout $(BENCH_LAB_TIMEOUT) $(BENCH_PUT) --artifacts bench-results/down -- ./bench-lab down --repeat 30 --limit 1h --change 1MiB $(BENCH_LAB_FLAGS)

.PHONY: bench-wal
bench-wal: bench-lab-binaries ## what WAL the primary keeps during a seed that lasts minutes, in the lab
	lab/run $(LAB_FLAGS) --timeout $(BENCH_LAB_TIMEOUT) $(BENCH_PUT) --artifacts bench-results/wal -- ./bench-lab wal --sizes 96MiB $(BENCH_LAB_FLAGS)

.PHONY: bench-go
bench-go: ## the packages' own benchmarks, BENCHTIME each
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $$($(GO) list ./... | grep -Ev '/e2e(/|$$)')

.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME each, FUZZ_JOBS at a time
	GO='$(GO)' scripts/fuzz $(FUZZTIME) $(FUZZ_JOBS)

.PHONY: sim
sim: ## five rounds of fail-over, simulated; the simulated standby: a fault at every SIM_EVERY-th point of every story (1: all), and SIM_RANDOM random sequences of faults
	$(GO) test ./internal/secondary -run 'TestEveryPoint|TestRandomBlows' -timeout 60m -sim.every $(SIM_EVERY) -rapid.checks $(SIM_RANDOM)
	$(GO) test ./internal/simulation -timeout 30m -sim.rounds 5

.PHONY: cover
cover: ## coverage of the pure packages; fails below COVER_MIN percent
	$(GO) test -cover $(PURE_PACKAGES) | scripts/cover $(COVER_MIN)

.PHONY: docs
docs: ## rewrites what is generated from the code in docs/
	$(GO) test -p 1 ./cmd/... ./internal/metrics -run TestDocumentation -update

.PHONY: clean
clean: ## removes what was built, but not the tools and the lab's image
	rm -rf bin dist '$(ARTIFACTS)' cover.out
