#!/usr/bin/env bash
# Builds the rooflines (once a user) and the release binaries, and runs the benchmarks on a real broker.
#
#     scripts/bench.sh [--micro] [--quick] [--rounds N] [--only NAME,...] [--no-build]
#
# --micro runs the in-memory criterion benches instead. Everything else goes to the runner (`--help` lists it).
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${LONGSHORE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/longshore}
target=${CARGO_TARGET_DIR:-target}

version_of() {
    awk -v name="\"$1\"" '$1 == "name" && $3 == name { found = 1 } found && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' \
        Cargo.lock
}

# The crate carries librdkafka's whole source, so the same code that our worker links needs no download.
librdkafka_source() {
    local found
    found=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"rdkafka-sys-$1"/librdkafka 2>/dev/null | head -n 1 || true)
    if [[ -z $found ]]; then
        cargo fetch --quiet --locked
        found=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"rdkafka-sys-$1"/librdkafka | head -n 1)
    fi
    echo "$found"
}

# build_librdkafka FOLDER VERSION: with the flags of the crate's own build script, in a folder aside that is renamed when
# it is complete.
build_librdkafka() {
    local folder=$1 aside
    [[ ! -d $folder ]] || return 0
    mkdir -p "$cache"
    aside=$(mktemp --directory "$cache/librdkafka.XXXXXX")
    echo "bench: building librdkafka and its rdkafka_performance, once" >&2
    cp -a "$(librdkafka_source "$2")/." "$aside"
    if ! (cd "$aside" && ./configure --enable-ssl --disable-gssapi --disable-curl --disable-zstd --disable-lz4-ext \
        && make --jobs "$(nproc)" --directory src librdkafka.a && link "$aside" "$aside" \
            examples/rdkafka_performance.c rdkafka_performance) >"$aside/build.log" 2>&1; then
        echo "bench: librdkafka does not build; see $aside/build.log" >&2
        exit 1
    fi
    mv --no-target-directory "$aside" "$folder"
}

# link LIBRDKAFKA OUTPUT_FOLDER SOURCE NAME
link() {
    cc -O2 -g -Wall -I"$1/src" -o "$2/$4" "$3" "$1/src/librdkafka.a" \
        -lm -lz -lssl -lcrypto -ldl -lpthread -lrt
}

build_rooflines() {
    local version folder
    version=$(version_of rdkafka-sys)
    folder=$cache/librdkafka-$version
    build_librdkafka "$folder" "$version"
    mkdir -p "$target/rooflines"
    cp "$folder/rdkafka_performance" "$target/rooflines/"
    local name
    for name in latency loop topic; do
        if [[ benches/rooflines/$name.c -nt $target/rooflines/$name \
            || benches/rooflines/common.h -nt $target/rooflines/$name ]]; then
            link "$folder" "$target/rooflines" "benches/rooflines/$name.c" "$name"
        fi
    done
}

main() {
    local build=1 arguments=()
    while [[ $# -gt 0 ]]; do
        case $1 in
        --micro)
            shift
            exec cargo bench --locked --package longshore-benches "$@"
            ;;
        --no-build) build=0 ;;
        *) arguments+=("$1") ;;
        esac
        shift
    done
    build_rooflines
    if [[ $build == 1 ]]; then
        cargo build --locked --release --package longshore --package longshore-benches
    fi
    exec "$target/release/bench" --worker "$target/release/longshore" --rooflines "$target/rooflines" \
        --page docs/benchmarks.md "${arguments[@]}"
}

main "$@"
