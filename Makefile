# What one can do here. Anything beyond a line lives in scripts/.

SHELL := bash
.DEFAULT_GOAL := help
# Targets share one build folder and one terminal.
.NOTPARALLEL:
.PHONY: help demo build test check bench faults soak sim mutants fuzz clouds sbom image setup clean

help: ## this list
	@echo 'Longshore: a crew of Kafka workers. Usage: make TARGET'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## broker, workers, a kill -9, the account (ARGS= for `longshore dev`)
	@exec "$${CARGO_TARGET_DIR:-target}/debug/longshore" dev $(ARGS)

build: ## everything once, tests included: no feature set is built twice
	@scripts/build.sh

test: ## set up, build, all unit tests and suites (SUITES="walls broker")
	@scripts/test.sh $(SUITES)

check: ## format, clippy, docs, what comes into the build, 5 s of each fuzzer
	@scripts/setup.sh build
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	cargo fmt --manifest-path tests/mutants/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --locked --workspace --no-deps
	@SECONDS_EACH=5 scripts/fuzz.sh
	@# 75: advisories cannot be had here, as its last line says; all else is well.
	@scripts/supply.sh || { status=$$?; [[ $$status -eq 75 ]] || exit $$status; }

bench: ## rooflines and our worker, release build (ARGS="--quick", "--micro")
	@scripts/setup.sh test
	@scripts/bench.sh $(ARGS)

faults: ## the fault suite's long form: each crash point at least 20 times
	@LONGSHORE_FAULTS=full scripts/test.sh faults

soak: ## load and kills for MINUTES=10: what must not grow, with slopes
	@scripts/soak.sh $(MINUTES)

sim: ## simulated fleets with a table (SEEDS=1000000; SEED=k tells a story)
	@scripts/sim.sh "$(SEEDS)" "$(SEED)"

mutants: ## core, one line changed at a time, with a table (FILES="tracker.rs")
	@scripts/mutants.sh $(FILES)

clouds: ## Google's and Azure's stores: their features, and Azure's emulator
	@scripts/clouds.sh

fuzz: ## fuzz targets with a table, a minute each (SECONDS=600, TARGET="json")
	@SECONDS_EACH="$(or $(SECONDS),60)" TARGETS="$(TARGET)" scripts/fuzz.sh

sbom: ## what is in the command, as CycloneDX (target/sbom)
	@scripts/supply.sh sbom

image: ## the container image, by Docker, Podman or Buildah (TAG=name:tag)
	@scripts/image.sh $(TAG)

setup: ## install what build and tests need, or print the command that does
	@scripts/setup.sh test

clean: ## remove build output (the cache of brokers stays: ~/.cache/longshore)
	cargo clean
