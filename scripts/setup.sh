#!/usr/bin/env bash
# Installs what is missing for `build` (Rust and C++ parts) or `test` (also a real broker), or prints the command.
# Looks for what is needed, not for packages, so that it also works where parts came from elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-test}

have() { command -v "$1" >/dev/null 2>&1; }

java_major() {
    local java=java
    if [[ -n ${JAVA_HOME:-} && -x $JAVA_HOME/bin/java ]]; then java=$JAVA_HOME/bin/java; fi
    "$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1
}

# The oldest Java that Kafka 4 runs on and this system offers, as a Debian package.
java_package() {
    local version
    for version in 17 21 25; do
        if apt-cache show "openjdk-$version-jre-headless" >/dev/null 2>&1; then
            echo "openjdk-$version-jre-headless"
            return
        fi
    done
    echo default-jre-headless
}

find_missing() {
    build_packages=() tls_packages=() test_packages=()
    have cmake || build_packages+=(cmake)
    have make || build_packages+=(make)
    { have c++ && have cc; } || build_packages+=(g++)
    # Without these a worker is built without TLS (scripts/build.sh).
    have pkg-config || tls_packages+=(pkg-config)
    { have pkg-config && pkg-config --exists openssl; } || tls_packages+=(libssl-dev)
    [[ $purpose == test ]] || return 0
    local major
    major=$(java_major 2>/dev/null || true)
    [[ ${major:-0} -ge 17 ]] || test_packages+=("$(java_package)")
    have mvn || test_packages+=(maven)
    have jq || test_packages+=(jq)
    have zstd || test_packages+=(zstd)
    have valgrind || test_packages+=(valgrind)
    # A worker whose clock jumps.
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || test_packages+=(faketime)
    # Go, for the S3 server of the tests, is too old in most systems' packages: scripts/tools.sh says where to get it.
    python3 -c 'import venv, ensurepip' 2>/dev/null || test_packages+=(python3-venv)
    # The console is looked at in a real browser, which Node.js drives.
    have chromium || have chromium-browser || have google-chrome || test_packages+=(chromium)
    have node || test_packages+=(nodejs)
    have npm || test_packages+=(npm)
    { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb; } || test_packages+=(postgresql)
}

# How this user may run apt-get, or nothing.
privilege() {
    if ! have apt-get; then
        return 1
    elif [[ $(id -u) == 0 ]]; then
        echo env
    elif have sudo && sudo -n true 2>/dev/null; then
        echo sudo
    else
        return 1
    fi
}

install() {
    local run=$1
    # The package lists of a fresh machine are empty, and which Java there is depends on them.
    "$run" apt-get update --quiet --quiet
    find_missing
    local packages=("${build_packages[@]}" "${tls_packages[@]}" "${test_packages[@]}")
    echo "setup: installing ${packages[*]}"
    "$run" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --quiet --no-install-recommends "${packages[@]}"
}

install_packages() {
    local run
    find_missing
    [[ $((${#build_packages[@]} + ${#tls_packages[@]} + ${#test_packages[@]})) -gt 0 ]] || return 0
    if run=$(privilege); then
        install "$run"
        return
    fi
    echo "setup: missing, and not allowed to install. On Debian or Ubuntu run:" >&2
    echo "    sudo apt-get install --no-install-recommends ${build_packages[*]} ${tls_packages[*]} ${test_packages[*]}" >&2
    if [[ ${#build_packages[@]} -gt 0 || ${CI:-} == true ]]; then
        exit 1
    fi
    echo "setup: going on without; what needs these parts is skipped and counted as skipped" >&2
}

install_toolchain() {
    if ! have cargo; then
        echo "setup: no cargo; install Rust with rustup: https://rustup.rs" >&2
        exit 1
    fi
    # Not every rustup installs the pinned toolchain by itself.
    cargo --version >/dev/null 2>&1 || rustup toolchain install
}

install_packages
install_toolchain
