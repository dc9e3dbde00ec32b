#!/usr/bin/env bash
# Changes one line of core at a time and runs its unit tests and a thousand seeds of the simulation: a mutant that nothing notices is missed.
#
#     scripts/mutants.sh [FILE...]        paths below workers/core/src; all of them by default, which takes days of one core
#
# Prints the missed ones and ends with 2 when there are any; the reports lie in target/mutants. It uses a copy of the tree and a build folder of
# its own, at the lowest priority. docs/reliability.md says of each missed one why.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$(scripts/tools.sh mutants)
out=${CARGO_TARGET_DIR:-target}/mutants
mkdir -p "$out"
files=()
for file in "$@"; do
    files+=(--file "workers/core/src/$file")
done
[[ $# -gt 0 ]] || files=(--file 'workers/core/src/**/*.rs')

unset CARGO_TARGET_DIR
export PATH="${program%/*}:$PATH" CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=false
exec nice -n 19 cargo mutants --package longshore-core --test-package longshore-core,longshore-testkit --cap-lints true \
    --jobs 1 --timeout 120 --output "$out" --no-times "${files[@]}" -- --lib
