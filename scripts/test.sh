#!/usr/bin/env bash
# Sets up, builds once, and runs the unit tests and the suites (all, or those named). Ends with one line alone:
#     N passed, N failed[, N skipped]
# A test is never run twice. A suite that needs a real part says which one it used.
set -euo pipefail
cd "$(dirname "$0")/.."

logs=${CARGO_TARGET_DIR:-target}/test-logs
passed=0 failed=0 skipped=0
phases=()
figures=()
running=
guard=
# Minutes after which a suite that does not end has failed: several times what the longest takes, and the long form has hours.
limit=25
[[ ${LONGSHORE_FAULTS:-} != full ]] || limit=600

# Each phase is a process group of its own, so that an interrupted run takes all of it along: cargo alone would leave its
# test binary. Brokers follow their owners by themselves.
interrupted() {
    trap - INT TERM HUP
    if [[ -n $running ]]; then
        kill -TERM -- "-$running" 2>/dev/null || true
        wait "$running" 2>/dev/null || true
    fi
    unguard
    echo "interrupted" >&2
    exit 130
}
trap interrupted INT TERM HUP

# Ends the running phase when it takes too long, so that a test that hangs fails with its name (the last lines above) instead of
# holding up everything. Where gdb is there, it tells first what every thread waits for.
guard() {
    set -m
    {
        sleep "$((limit * 60))"
        echo "== this phase has not ended in $limit minutes and is ended; of its tests those without a result hang"
        if command -v gdb >/dev/null; then
            pgrep -g "$running" -f '/deps/' | while read -r process; do
                gdb -p "$process" -batch -ex 'thread apply all backtrace 25' 2>/dev/null || true
            done >"$logs/stacks.log" || true
            echo "== their stacks are in $logs/stacks.log"
        fi
        kill -TERM -- "-$running"
    } &
    guard=$!
    set +m
}

unguard() {
    [[ -n $guard ]] || return 0
    kill -TERM -- "-$guard" 2>/dev/null || true
    wait "$guard" 2>/dev/null || true
    guard=
}

# phase NAME COMMAND...: runs it, shows and keeps its output, notes its time; returns its status.
phase() {
    local name=$1 started=$SECONDS status=0
    shift
    printf '\n== %s\n' "$name"
    set -m
    { "$@" 2>&1 | tee "$logs/$name.log"; } &
    running=$!
    set +m
    [[ $name == setup || $name == tools || $name == build ]] || guard
    wait "$running" || status=$?
    unguard
    running=
    local seconds=$((SECONDS - started))
    phases+=("$(printf '%-12s %2d min %02d s' "$name" $((seconds / 60)) $((seconds % 60)))")
    return "$status"
}

# sum WORD NAME: adds up "N WORD" in the result lines of a phase.
sum() {
    awk -v word="$1" '/^test result: / { for (i = 2; i <= NF; i++) if ($i ~ "^" word) total += $(i - 1) }
        END { print total + 0 }' "$logs/$2.log"
}

# tests NAME CARGO_ARGUMENTS...: one phase of tests.
tests() {
    local name=$1 status=0 failures skips
    shift
    export LONGSHORE_TEST_REPORT=$PWD/$logs/$name.report
    [[ $logs != /* ]] || LONGSHORE_TEST_REPORT=$logs/$name.report
    : >"$LONGSHORE_TEST_REPORT"
    phase "$name" cargo test --locked --workspace --no-fail-fast "$@" || status=$?
    failures=$(sum failed "$name")
    # A binary that aborts prints no result line.
    if [[ $status -ne 0 && $failures -eq 0 ]]; then failures=1; fi
    skips=$(grep -c '^skipped' "$LONGSHORE_TEST_REPORT" || true)
    passed=$((passed + $(sum passed "$name") - skips))
    failed=$((failed + failures))
    skipped=$((skipped + skips))
    figures+=("$LONGSHORE_TEST_REPORT")
    sed '/^figure/d' "$LONGSHORE_TEST_REPORT" | sort | uniq -c | sed "s/^ *\([0-9]*\) \([a-z]*\)\t/$name: \2 (\1x) /"
}

# The long form keeps all that it publishes to the end. Measured: 10 GB of brokers' logs and rows at most, beside 3 for a first build
# that is not incremental; one that is takes more.
room() {
    local need=12 free
    [[ ${LONGSHORE_FAULTS:-} == full ]] || return 0
    [[ -d ${CARGO_TARGET_DIR:-target}/debug ]] || need=20
    free=$(df -Pk "${TMPDIR:-/tmp}" . | awk 'NR > 1 && (least == "" || $4 < least) { least = $4 } END { print int(least / 1048576) }')
    if [[ $free -lt $need ]]; then
        echo "the long form needs $need GB of disk here and in ${TMPDIR:-/tmp}; there are $free: make room, or set TMPDIR and CARGO_TARGET_DIR" >&2
        exit 69
    fi
}

suites() {
    awk '/^\[\[test\]\]/ { inside = 1; next } /^\[/ { inside = 0 } inside && /^name *=/ { gsub(/"/, "", $3); print $3 }' \
        tests/Cargo.toml
}

# Integration tests that live beside a crate.
crate_tests() {
    local file
    for file in workers/*/tests/*.rs workers/*/tests/*/main.rs; do
        [[ -e $file ]] || continue
        [[ $file != */main.rs ]] || file=$(dirname "$file")
        printf '%s\n' --test "$(basename "$file" .rs)"
    done
}

# What was measured, beside what is promised of it.
table() {
    [[ ${#figures[@]} -gt 0 ]] || return 0
    local rows
    rows=$(cat "${figures[@]}" | grep '^figure' | cut -f 2- | sort || true)
    [[ -n $rows ]] || return 0
    printf '\n== figures\n'
    awk -F '\t' '{ printf "%-46s %-44s %s\n", $1, $2, $3 }' <<<"$rows"
}

finish() {
    table
    printf '\n== phases\n'
    printf '%s\n' "${phases[@]}"
    printf 'total        %2d min %02d s\n\n' $((SECONDS / 60)) $((SECONDS % 60))
    local line="$passed passed, $failed failed"
    if [[ $skipped -gt 0 ]]; then line+=", $skipped skipped"; fi
    echo "$line"
    [[ $failed -eq 0 && $passed -gt 0 ]]
}

main() {
    local suite known beside
    mkdir -p "$logs"
    # Where all is built once, what an incremental build would save for the next time is work for nothing.
    [[ ${CI:-} != true ]] || export CARGO_INCREMENTAL=0
    known=$(suites)
    for suite in "$@"; do
        if ! grep -qx "$suite" <<<"$known"; then
            echo "no suite named $suite; there are:" $known >&2
            exit 64
        fi
    done
    room
    if ! phase setup scripts/setup.sh test || ! phase build cargo build --locked --workspace --all-targets; then
        failed=1
        finish
        exit 1
    fi
    # The suites that read object stores ask for their tools themselves; here they do not count as a test's time. What cannot be
    # had is told by the test that wants it.
    local tools=()
    if grep -qwE 'objects|behaviour' <<<"${*:-$known}"; then tools+=(versitygw python); fi
    if grep -qw operate <<<"${*:-$known}"; then tools+=(promtool prometheus collector); fi
    if grep -qw deploy <<<"${*:-$known}"; then tools+=(kubeconform kustomize schemas hadolint compose); fi
    if grep -qw console <<<"${*:-$known}"; then tools+=(chromium playwright); fi
    [[ ${#tools[@]} -eq 0 ]] || phase tools scripts/tools.sh "${tools[@]}" || true
    # What has a broker or workers waits for them more than it computes.
    local waiting
    waiting=--test-threads=$((2 * $(nproc)))
    if [[ $# -eq 0 ]]; then
        tests unit --lib --bins
        mapfile -t beside < <(crate_tests)
        tests crates "${beside[@]}" -- "$waiting"
        tests doc --doc
    fi
    for suite in ${*:-$known}; do
        tests "$suite" --test "$suite" -- "$waiting"
    done
    finish
}

main "$@"
