# SlipStream. `make` alone says what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TARGET ?= target
IMAGES ?= $(TARGET)/images
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# musl where that target is installed, else glibc without its dynamic parts.
MUSL := $(subst -gnu,-musl,$(HOST))
AGENT_TARGET := $(if $(wildcard $(shell rustc --print sysroot 2>/dev/null)/lib/rustlib/$(MUSL)),$(MUSL),$(HOST))
AGENT := $(TARGET)/$(AGENT_TARGET)/agent/slipstream-agent
DEBIAN ?= bookworm

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target what; do printf '  make %-19s %s\n' "$$target" "$$what"; done

dev: build ## the tutorial as plain processes: no VM, no root, seconds
	$(TARGET)/debug/slipstream up examples/service-testing-processes --down

demo: ## the tutorial on two real virtual machines of this machine
	@packaging/demo.sh

build: ## all programs, for development
	@packaging/install-deps.sh build
	cargo build --workspace

release: agent ## all programs, optimized
	cargo build --release -p slipstream-coordinator -p slipstream

agent: ## the static agent, as it goes into images
	@packaging/install-deps.sh build
	@RUSTFLAGS="-C target-feature=+crt-static" cargo build -p slipstream-agent --profile agent --target $(AGENT_TARGET)
	@packaging/check-agent.sh $(AGENT)

image: agent ## the Debian reference image
	@packaging/install-deps.sh vm image
	@packaging/image/debian.sh --agent $(AGENT) --out $(IMAGES)/debian-12 --suite $(DEBIAN)

image-small: agent ## the small busybox image that the tests boot
	@packaging/install-deps.sh vm
	@packaging/image/busybox.sh --agent $(AGENT) --out $(IMAGES)/busybox

check: ## format, lints, unit tests: what to run before each commit
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace --lib --bins --quiet

test: build image-small ## everything but Debian VMs, cuts of power and what goes on for long
	SLIPSTREAM_TEST_IMAGES=$(abspath $(IMAGES)) cargo test --workspace

test-vm: build image image-small ## the tutorial on Debian VMs, and three cuts of power (some minutes)
	SLIPSTREAM_TEST_IMAGES=$(abspath $(IMAGES)) cargo test -p slipstream-tests --test vm -- --nocapture
	@$(MAKE) --no-print-directory test-power CUTS=3

CUTS ?= 50

test-power: build image-small ## the power of a VM with the coordinator is cut while it is written to (CUTS=n, SEED=n)
	@packaging/install-deps.sh power
	CUTS=$(CUTS) SLIPSTREAM_TEST_IMAGES=$(abspath $(IMAGES)) cargo test -p slipstream-tests --test power -- --nocapture

test-power-broken: image-small ## the same without fdatasync, and with large values in files of their own: both have to be found
	@packaging/install-deps.sh power
	cargo build --workspace --features slipstream-coordinator/planted-bugs --target-dir $(TARGET)/planted
	SLIPSTREAM_TEST_IMAGES=$(abspath $(IMAGES)) cargo test -p slipstream-tests --features planted-bugs --target-dir $(TARGET)/planted --test power planted -- --nocapture

test-editor: ## completion of module files in an editor's language server (installs it with npm, below target/)
	@packaging/install-deps.sh build editor
	npm install --silent --no-audit --no-fund --prefix $(TARGET)/editor yaml-language-server@1.25
	YAML_LANGUAGE_SERVER=$(abspath $(TARGET))/editor/node_modules/yaml-language-server/bin/yaml-language-server cargo test -p slipstream-tests --test editor

# For how long, for those that can go on for ever.
SECONDS ?= 60

linearize: build ## parameters under fire, checked against their promise (SECONDS=n SEED=n)
	SECONDS_TO_RUN=$(SECONDS) cargo test -p slipstream-tests --test linearize -- --nocapture

linearize-broken: ## the same on coordinators with bugs: each has to be found
	cargo build --workspace --features slipstream-coordinator/planted-bugs --target-dir $(TARGET)/planted
	cargo test -p slipstream-tests --features planted-bugs --target-dir $(TARGET)/planted --test linearize planted -- --nocapture

# Built so that it tells which code an input reaches, for this machine by name: build scripts must not be.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Ccodegen-units=1 -Copt-level=2 -Cdebug-assertions=on

fuzz: ## readers of what strangers write, each for SECONDS, guided by the code they reach
	SECONDS_TO_RUN=$(SECONDS) RUSTFLAGS="$(FUZZ_FLAGS)" cargo test -p slipstream-tests --target $(HOST) --target-dir $(TARGET)/fuzz --test fuzz -- --nocapture --test-threads 1

bench: agent ## measure beside etcd, into docs/performance.md (half an hour; QUICK=1: under three minutes, writes no document)
	@packaging/install-deps.sh build bench
	cargo build --profile measure -p slipstream-bench
	$(TARGET)/measure/slipstream-bench run --data $(TARGET)/bench-data --rows $(TARGET)/bench.jsonl --agent $(AGENT) $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))
	$(if $(QUICK)$(ONLY),,$(TARGET)/measure/slipstream-bench report --rows $(TARGET)/bench.jsonl --into docs/performance.md)

SEEDS ?= 5000

simulate: ## worlds on virtual time in which everything goes wrong, one for each seed (SEEDS=n, or SEED=n for one with its trace)
	SEEDS=$(SEEDS) SEED=$(SEED) cargo test --profile simulate -p slipstream-tests --test simulate -- --nocapture

simulate-broken: ## the same with bugs: each has to be found
	cargo test --profile simulate -p slipstream-tests --features planted-bugs --test simulate planted -- --nocapture

kill-loop: build image-small ## kill -9 at every record of a deployment, its scaling and its end (some minutes)
	EVERY_RECORD=1 SLIPSTREAM_TEST_IMAGES=$(abspath $(IMAGES)) cargo test -p slipstream-tests --test kill -- --nocapture --test-threads 1

soak: ## runs come and go for 20 minutes; memory, descriptors and files stay flat, and so does a store written a million times (SECONDS=n)
	@packaging/install-deps.sh build
	OVERWRITES=1000000 cargo test -p slipstream-coordinator --lib --quiet overwriting -- --nocapture
	cargo build --profile measure -p slipstream-bench
	$(TARGET)/measure/slipstream-bench soak --data $(TARGET)/bench-data $(if $(filter file,$(origin SECONDS)),,--seconds $(SECONDS))

golden: ## write the golden files again, after looking at the difference
	SLIPSTREAM_GOLDEN=write cargo test --workspace --quiet golden

clean: ## what was built, images included
	rm -rf $(TARGET)

.PHONY: help dev demo build release agent image image-small check test test-vm test-power test-power-broken test-editor linearize linearize-broken simulate simulate-broken kill-loop fuzz bench soak golden clean
