#!/usr/bin/env bash
# A broker, three workers, kills on the way, and figures that must not grow, for as long as wanted.
#
#     scripts/soak.sh [MINUTES]
#
# Prints a table with the slope of each figure; exit 1 when one is beyond its bound, the account does not close, or there is no broker.
# Slopes are judged from 7 minutes on, after a quarter of the time; shorter runs show that it works.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-10}
if ! [[ $minutes =~ ^[1-9][0-9]{0,4}$ ]]; then
    echo "soak: MINUTES is a whole number above 0, not '$minutes'" >&2
    exit 64
fi
scripts/setup.sh test
cargo build --locked --workspace --all-targets
said=$(mktemp)
trap 'rm -f "$said"' EXIT
LONGSHORE_SOAK_MINUTES=$minutes cargo test --locked --workspace --test faults -- \
    --exact soak::a_long_load_leaves_nothing_behind --nocapture | tee "$said"
# Without a broker the test is skipped, and that is no soak.
if ! grep -q '^account: ' "$said"; then
    echo "soak: nothing was tried" >&2
    exit 1
fi
