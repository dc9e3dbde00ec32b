# What one can do here. Anything beyond a line lives in scripts/.

SHELL := bash
.DEFAULT_GOAL := help
# Targets share one build folder and one terminal.
.NOTPARALLEL:
.PHONY: help demo build test check bench faults sim mutants fuzz clouds sbom setup clean

help: ## this list
	@echo 'Longshore: a crew of Kafka workers. Usage: make TARGET'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## broker, two pipelines, workers, a kill -9, and the account (ARGS="..." goes to `longshore dev`)
	@exec "$${CARGO_TARGET_DIR:-target}/debug/longshore" dev $(ARGS)

build: ## everything once, tests included, so that no feature set is built twice
	@scripts/build.sh

test: ## set up, build, all unit tests and suites (SUITES="walls broker" for some)
	@scripts/test.sh $(SUITES)

check: ## formatting, clippy and documentation, warnings denied; what comes into the build; five seconds of each fuzz target
	@scripts/setup.sh build
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --locked --workspace --no-deps
	@SECONDS_EACH=5 scripts/fuzz.sh
	@# 75: advisories cannot be had here, as its last line says; all else is well.
	@scripts/supply.sh || { status=$$?; [[ $$status -eq 75 ]] || exit $$status; }

bench: ## rooflines and our worker on a real broker, release build (ARGS="--quick", "--micro": in memory)
	@scripts/setup.sh test
	@scripts/bench.sh $(ARGS)

faults: ## the long form of the fault suite: each named crash point at least 20 times
	@LONGSHORE_FAULTS=full scripts/test.sh faults

sim: ## simulated fleets with a table at the end (SEEDS=1000000 for a night; SEED=k plays one and tells its story)
	@scripts/sim.sh "$(SEEDS)" "$(SEED)"

mutants: ## the machine with one line changed at a time: what no test notices (FILES="tracker.rs runs.rs", all of core by default: days)
	@scripts/mutants.sh $(FILES)

clouds: ## Google's and Azure's stores: their features alone, and the sink's behaviour over Azure's emulator
	@scripts/clouds.sh

fuzz: ## fuzz targets, a minute each (SECONDS=600, TARGET="json avro"), with a table
	@SECONDS_EACH="$(or $(SECONDS),60)" TARGETS="$(TARGET)" scripts/fuzz.sh

sbom: ## what is in the command, as CycloneDX (target/sbom)
	@scripts/supply.sh sbom

setup: ## install what build and tests need, or print the command that does
	@scripts/setup.sh test

clean: ## remove build output (the cache of brokers stays: ~/.cache/longshore)
	cargo clean
