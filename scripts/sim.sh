#!/usr/bin/env bash
# Plays simulated fleets and prints what they came to; ends with 1 when a promise is broken, after its story.
#
#     scripts/sim.sh [SEEDS] [SEED]
#
# SEEDS defaults to 100000, which is minutes. SEED plays that one alone and prints what happens in it: a number, or what a failure printed.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh build >&2
export LONGSHORE_SIM_SEEDS=${1:-100000} LONGSHORE_SIM_SEED=${2:-}
cargo test --locked --quiet --workspace --test sim -- --exact promises_hold_on_random_schedules --nocapture || exit 1
