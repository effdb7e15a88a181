# Outrigger. `make help` lists what there is; `make run` and `make test` do all the set-up themselves.

CARGO ?= cargo
WASM := wasm32-wasip2
PLUGINS := metrics
EXAMPLES := config-keeper hello-collector hostile-plugin library shell wardle
# For tests alone; never shipped.
TEST_GUESTS := errand hostile strategist versions
# Behind a real control plane.
E2E := capabilities cli control_plane controllers deploy differential doctor documents faults informers metrics metrics_server replicas sample stored stores swaps virtual_objects
GUESTS := $(PLUGINS:%=outrigger-plugin-%) $(EXAMPLES) $(TEST_GUESTS)
GUEST_OUT := target/$(WASM)/guest

.DEFAULT_GOAL := help
.PHONY: help build guests run test unit e2e e2e-node bench bench-metrics soak fuzz lint fmt image tools clean

help: ## Say what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

build: tools guests ## Build target/release/outrigger, target/plugins/*.wasm, target/examples/*.wasm
	$(CARGO) build --release --locked -p outrigger -p local-kubelet

guests: tools
	$(CARGO) build --locked --profile guest --target $(WASM) $(GUESTS:%=-p %)
	@mkdir -p target/plugins target/examples target/test-guests
	@for p in $(PLUGINS); do scripts/place $(GUEST_OUT)/outrigger_plugin_$$p.wasm target/plugins/$$p.wasm; done
	@for e in $(EXAMPLES); do scripts/place $(GUEST_OUT)/$$(echo $$e | tr - _).wasm target/examples/$$e.wasm; done
	@for g in $(TEST_GUESTS); do scripts/place $(GUEST_OUT)/$$(echo $$g | tr - _).wasm target/test-guests/$$g.wasm; done

run: build ## Serve metrics of this very machine; needs no cluster
	@scripts/run

test: unit e2e ## All tests: units, the sandbox, and a real control plane

# One selection of packages for all test builds, so that dependencies are built once and not once for each set of features.
TESTS := $(CARGO) test --locked --workspace

unit: tools guests
	$(TESTS)

e2e: tools guests ## The binary behind a real kube-apiserver, with kubectl and the HPA as judges
	@scripts/need go "Go 1.26 or newer: see your distribution, or go.dev/dl"
	assets=$$(e2e/control-plane/build) && KUBEBUILDER_ASSETS=$$assets \
		$(TESTS) --features outrigger-e2e/cluster $(E2E:%=--test %)

e2e-node: tools guests ## The same against one real kubelet with real containers (root, containerd)
	@scripts/need go "Go 1.26 or newer: see your distribution, or go.dev/dl"
	e2e/node/test

# One selection of packages, so that the server that is measured and the client that measures are built together.
bench: tools guests ## Figures: fresh calls, one tick, memory, and serving beside a Go server; each with the command that made it
	@scripts/need go "Go 1.26 or newer: see your distribution, or go.dev/dl"
	$(CARGO) build --release --locked -p outrigger -p local-kubelet -p outrigger-e2e --features outrigger-e2e/cluster
	@scripts/bench

bench-metrics: tools guests ## The same job beside metrics-server, on one fleet; SIZES="100x70x2 1000x30x1" (nodes x pods x containers)
	@scripts/need go "Go 1.26 or newer: see your distribution, or go.dev/dl"
	$(CARGO) build --release --locked -p outrigger -p local-kubelet -p outrigger-e2e --features outrigger-e2e/cluster
	e2e/metrics-server/build
	assets=$$(e2e/control-plane/build) && KUBEBUILDER_ASSETS=$$assets OUTRIGGER_BIN=$(CURDIR)/target/release/outrigger \
		target/release/serving-bench metrics $(SIZES)

soak: tools ## Memory over 10^6 fresh calls and 10^3 versions of a plugin: flat, or it fails; a store under 10^3 kills and 10^4 power cuts
	$(TESTS) --test soak --test crash -- --ignored --nocapture --test-threads 1
	$(TESTS) --lib power_cuts -- --ignored --nocapture --test-threads 1

fuzz: tools ## What strangers send, by chance: each target for FUZZ_SECONDS (20)
	@scripts/need c++ "a C++ compiler for libFuzzer: apt-get install g++, or your system's"
	@scripts/fuzz

lint: tools ## Formatting, clippy on host and guests, shell scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features outrigger-e2e/cluster -- -D warnings
	$(CARGO) clippy --locked --profile guest --target $(WASM) $(GUESTS:%=-p %) -- -D warnings
	@scripts/need bash "bash: apt-get install bash"
	@for f in $$(git grep -lE '^#!/usr/bin/env bash' -- scripts e2e deploy .ci); do bash -n $$f || exit 1; done
	@scripts/need python3 "Python 3.11 or newer: see your distribution"
	@for f in $$(git grep -lE '^#!/usr/bin/env python3' -- deploy); do python3 -c 'compile(open("'$$f'").read(), "'$$f'", "exec")' || exit 1; done

fmt: ## Format all sources
	$(CARGO) fmt --all

image: tools ## Build target/image/oci: the container image for amd64 and arm64, without Docker; IMAGES="amd64" for one of them
	@PLUGINS="$(PLUGINS)" deploy/image/build $(IMAGES)

tools:
	@scripts/need cargo "Rust with rustup: see rustup.rs (rust-toolchain.toml names the version, rustup fetches it)"
	@scripts/need cc "a C compiler: apt-get install gcc, or your system's"
	@scripts/toolchain
