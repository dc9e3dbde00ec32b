#!/usr/bin/env bash
# Builds the image (deploy/Dockerfile) with what is there: Docker with BuildKit, Podman or Buildah.
#
#     scripts/image.sh [TAG]
#
# TAG is longshore:VERSION unless given. From the environment: RUST, BASE and FEATURES instead of the Dockerfile's, and OPTIONS, words for the builder
# (`--network host`). Progress goes to standard error; the program and the tag to standard output. Ends with 69 when nothing here builds
# images or a base cannot be had, and says why.
set -euo pipefail
cd "$(dirname "$0")/.."

recipe=deploy/Dockerfile
export DOCKER_BUILDKIT=1

say() { echo "image: $*" >&2; }

unavailable() {
    say "$*"
    exit 69
}

# The value that the Dockerfile gives to an argument.
default() { sed -n "s/^ARG $1=//p" "$recipe"; }

# answers PROGRAM: whether it builds here; its last words go to $why else. Docker's client is asked for BuildKit too, which newer ones have in a
# plugin of its own.
answers() {
    local said
    if ! command -v "$1" >/dev/null; then
        why+="; $1: not installed"
    elif ! said=$("$1" info 2>&1) || { [[ $1 == docker ]] && ! said=$(docker build --help 2>&1); }; then
        why+="; $1: $(grep --max-count=1 --ignore-case -E 'error|cannot' <<<"$said" || tail -n 1 <<<"$said")"
    else
        return 0
    fi
    return 1
}

# have PROGRAM BASE: fetches a base unless it is here.
have() {
    local said inspect=(image inspect)
    [[ $1 != buildah ]] || inspect=(inspect --type image)
    "$1" "${inspect[@]}" "$2" >/dev/null 2>&1 || said=$("$1" pull "$2" 2>&1) \
        || unavailable "$1 cannot have the base $2: $(tail -n 1 <<<"$said")"
}

main() {
    local program why='' tag base arguments=()
    tag=${1:-longshore:$(awk -F '"' '/^version = / { print $2; exit }' Cargo.toml)}
    for program in docker podman buildah none; do
        [[ $program != none ]] || unavailable "nothing here builds images${why}"
        ! answers "$program" || break
    done
    for base in RUST BASE; do
        have "$program" "${!base:-$(default $base)}"
        arguments+=(--build-arg "$base=${!base:-$(default $base)}")
    done
    [[ -z ${FEATURES:-} ]] || arguments+=(--build-arg "FEATURES=$FEATURES")
    # The same commit gives the same times.
    arguments+=(--build-arg "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)")
    # shellcheck disable=SC2086 # words
    "$program" build ${OPTIONS:-} "${arguments[@]}" --file "$recipe" --tag "$tag" . >&2
    echo "$program $tag"
}

main "$@"
