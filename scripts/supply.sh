#!/usr/bin/env bash
# What comes into the build, checked; or listed.
#
#     scripts/supply.sh          licences, sources, duplicates and bans (deny.toml), known vulnerabilities, dependencies that nothing
#                                names, and that the lock files say all there is
#     scripts/supply.sh sbom     what is in the command: target/sbom/longshore-VERSION.cdx.json, CycloneDX
#
# Known vulnerabilities are in a repository that not every machine reaches (https://github.com/RustSec/advisory-db). Where it cannot be
# fetched all else is checked, the last line says that advisories were not, and the code is 75. LONGSHORE_ADVISORIES=required makes
# that a failure, for a CI that can reach it. Other codes: 0 all is well, 1 something is not, 69 a tool cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

# As in the image, so that what is listed is what runs there.
features=objects,postgres,tls-vendored

say() { echo "supply: $*"; }

# Every crate comes with a checksum in a lock file, and each build uses those versions alone.
check_locks() {
    local folder
    for folder in . tests/fuzz tests/mutants; do
        cargo metadata --locked --format-version 1 --manifest-path "$folder/Cargo.toml" >/dev/null
    done
}

check_unused() {
    "$machete" --skip-target-dir .
}

# A line of deny.toml that nothing needs any more has to go. The graphs of the fuzz targets and of the mutants are judged as well, since who runs them builds them; they
# are smaller, so there are lines that they do not need.
check_rules() {
    "$deny" --locked check --deny unmatched-skip --deny unnecessary-skip --deny unused-wrapper \
        --allow license-exception-not-encountered --show-stats licenses bans sources || return 1
    for folder in tests/fuzz tests/mutants; do
        "$deny" --locked --log-level error --manifest-path "$folder/Cargo.toml" --config deny.toml \
            check --allow license-not-encountered licenses bans sources || return 1
    done
}

# Two steps, so that what cannot be fetched is not taken for something found.
check_advisories() {
    if "$deny" fetch db >"$log" 2>&1; then
        "$deny" --locked check advisories
    else
        tail -n 3 "$log" | sed 's/^/    /'
        return 75
    fi
}

check() {
    local status=0 found=0
    deny=$(scripts/tools.sh deny)
    machete=$(scripts/tools.sh machete)
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    say "lock files"
    check_locks || found=1
    say "dependencies that nothing names"
    check_unused || found=1
    say "licences, bans, duplicates, sources"
    check_rules || found=1
    say "advisories"
    check_advisories || status=$?
    if [[ $status -eq 75 ]]; then
        say "ADVISORIES WERE NOT CHECKED: the database cannot be fetched from here (above)"
        [[ ${LONGSHORE_ADVISORIES:-} != required ]] || found=1
    elif [[ $status -ne 0 ]]; then
        found=1
    fi
    [[ $found -eq 0 ]] || exit 1
    [[ $status -ne 75 ]] || exit 75
    say "all is well"
}

# What is compiled into the command, and what compiled it: OpenSSL's sources come by a crate of the second kind. The tool writes beside each
# manifest of a workspace, so it is given a copy.
sbom() {
    local tool version out
    tool=$(scripts/tools.sh cyclonedx)
    version=$(cargo metadata --locked --no-deps --format-version 1 | jq -r '.packages[] | select(.name == "longshore") | .version')
    out=${CARGO_TARGET_DIR:-target}/sbom/longshore-$version.cdx.json
    copy=$(mktemp --directory)
    trap 'rm -rf "$copy"' EXIT
    cp -r Cargo.toml Cargo.lock rust-toolchain.toml workers tests benches "$copy"
    # The same file at each build of a commit: time and serial number are taken from this, and our own crates have no place of this machine.
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)} "$tool" cyclonedx --quiet --format json \
        --spec-version 1.5 --manifest-path "$copy/workers/longshore/Cargo.toml" --no-default-features --features "$features" \
        --target x86_64-unknown-linux-gnu --override-filename sbom
    mkdir -p "$(dirname "$out")"
    sed "s|$copy|/longshore|g" "$copy/workers/longshore/sbom.json" >"$out"
    say "$(jq '.components | length' "$out") components in $out"
}

case ${1:-check} in
check) check ;;
sbom) sbom ;;
*)
    say "usage: scripts/supply.sh [sbom]" >&2
    exit 64
    ;;
esac
