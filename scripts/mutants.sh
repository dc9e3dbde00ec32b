#!/usr/bin/env bash
# Changes one line of core at a time and runs its unit tests and a thousand seeds of the simulation: a mutant that nothing notices is missed, unless
# workers/core/mutants.md says why nothing can notice it. tests/mutants says how.
#
#     scripts/mutants.sh [FILE...]        paths below workers/core/src; all of them by default, which takes an hour or two of two cores
#
# Prints a table and the missed ones, and ends with 2 when there are any. A copy of the tree, its builds and what came of each mutant (tried.txt) lie in
# target/mutants. It runs at the lowest priority.
set -euo pipefail
cd "$(dirname "$0")/.."

# The toolchain may not be there yet.
scripts/setup.sh build >&2
list=$(scripts/tools.sh mutants)
work=$(realpath -m "${CARGO_TARGET_DIR:-target}/mutants")
mkdir -p "$work"
unset CARGO_TARGET_DIR
tool=(--quiet --release --locked --manifest-path tests/mutants/Cargo.toml --target-dir "$work/tool")
nice -n 19 cargo test "${tool[@]}" >&2
nice -n 19 cargo build "${tool[@]}"
exec nice -n 19 "$work/tool/release/longshore-mutants" "$PWD" "$work" "$list" "$@"
