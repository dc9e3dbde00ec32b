#!/usr/bin/env bash
# Runs the fuzz targets (tests/fuzz) and prints a table. Ends with 1 when a target found something, and says which file and which command
# shows it again.
#
#     scripts/fuzz.sh [--build]      --build: builds and ends
#     SECONDS_EACH=60 TARGETS="json avro" scripts/fuzz.sh
#
# The compiler is the one that all else is built with. cargo-fuzz asks for a nightly one because of the sanitizers, which are unstable flags;
# the counters that libFuzzer goes by are not. What a sanitizer would find is in `unsafe` code, of which the crates under test have none: so
# there is none here, and targets run several times as fast. Debug assertions and overflow checks are on.
#
# Memory and time are bounded: 1 GiB and 10 s for one input, and a stack of 2 MiB, as the threads of a worker have.
#
# What is found lies in target/fuzz/artifacts/TARGET; what widens the coverage in target/fuzz/corpus/TARGET, from where the next run goes on.
# The seeds in tests/fuzz/corpus are few and kept by hand: a find becomes a test of its own where it was mended.
set -euo pipefail
cd "$(dirname "$0")/.."

# The toolchain may not be there yet.
scripts/setup.sh build >&2
seconds=${SECONDS_EACH:-60}
work=${CARGO_TARGET_DIR:-target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
known=$(sed -n 's/^name = "\([a-z]*\)"$/\1/p' tests/fuzz/Cargo.toml)

say() { echo "fuzz: $*" >&2; }

for target in ${TARGETS:-}; do
    grep -qx "$target" <<<"$known" || {
        say "no target named $target; there are: $(tr '\n' ' ' <<<"$known")"
        exit 64
    }
done

build() {
    local tool
    tool=$(scripts/tools.sh fuzz)
    # A target that does not exist yet is built as well; nothing to do takes a second.
    "$tool" build --fuzz-dir tests/fuzz --target-dir "$work" --sanitizer none
}

# number NAME FILE: one of the figures that libFuzzer ends with.
number() { sed -n "s/^stat::$1: *//p" "$2" | tail -n 1; }

# run TARGET: one row; 1 when it found something.
run() {
    local target=$1 log status=0 kept edges before found line
    log=$work/$target.log
    kept=$work/corpus/$target
    mkdir -p "$kept" "$work/artifacts/$target"
    before=$(find "$kept" -type f | wc -l)
    (
        ulimit -s 2048
        TMPDIR=$scratch exec "$work/$triple/release/$target" "$kept" "tests/fuzz/corpus/$target" \
            -artifact_prefix="$work/artifacts/$target/" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 \
            -print_final_stats=1 -use_value_profile=1
    ) >"$log" 2>&1 || status=$?
    found=$(($(find "$kept" -type f | wc -l) - before))
    edges=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-12s %10s %9s %9s %6s  %s\n' "$target" "$(number number_of_executed_units "$log")" \
        "$(number average_exec_per_sec "$log")" "${edges:--}" "$found" "$([[ $status -eq 0 ]] && echo well || echo FOUND)"
    [[ $status -ne 0 ]] || return 0
    line=$(grep -m 1 -E "panicked at|ERROR: libFuzzer|SUMMARY" "$log" || true)
    echo "    $line"
    grep -m 1 -A 1 "panicked at" "$log" | tail -n 1 | cut -c 1-300 | sed 's/^/    /' || true
    echo "    again: $work/$triple/release/$target $(sed -n 's/^.*Test unit written to //p' "$log" | tail -n 1)    (all of it: $log)"
    return 1
}

main() {
    local target failed=0
    build
    [[ ${1:-} != --build ]] || return 0
    # Ledgers are read from files, and a folder that is opened is made to last first: in memory that is sixty times as fast.
    scratch=$(mktemp -d -p /dev/shm longshore-fuzz.XXXXXX 2>/dev/null || mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    printf '%-12s %10s %9s %9s %6s\n' target runs runs/s edges new
    for target in ${TARGETS:-$known}; do run "$target" || failed=1; done
    return "$failed"
}

main "$@"
