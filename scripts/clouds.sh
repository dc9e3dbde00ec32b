#!/usr/bin/env bash
# Google's and Azure's stores, which `make test` holds against a server of its own alone: compiles each combination of their features, then runs
# the behaviour suite of the sink `objects` over Azurite, Azure's emulator (scripts/tools.sh fetches it, once). Of Google's store there is none to
# be had: fake-gcs-server takes no PUT of the XML protocol, which the client speaks.
#
#     scripts/clouds.sh [check|azurite]
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh build

# A folder of its own: here features are those of one package, and what is built for the whole workspace has all of them.
check() {
    local features
    for features in objects gcp azure gcp,azure; do
        echo "== $features"
        CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/clouds cargo check --locked --package longshore-sinks --no-default-features --features "$features"
    done
}

azurite() {
    scripts/tools.sh azurite >/dev/null
    cargo test --locked --workspace --test behaviour -- azure --ignored
}

case ${1:-all} in
check) check ;;
azurite) azurite ;;
all)
    check
    azurite
    ;;
*)
    echo "usage: scripts/clouds.sh [check|azurite]" >&2
    exit 64
    ;;
esac
