#!/usr/bin/env bash
# Sets up and builds: everything once, tests included; where OpenSSL's headers are missing, the command alone, without TLS.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh build
if pkg-config --exists openssl 2>/dev/null; then
    cargo build --locked --workspace --all-targets
else
    echo "build: no OpenSSL headers (Debian: libssl-dev), so without TLS, SCRAM and the sink objects: enough for the demo" >&2
    cargo build --locked --package longshore --no-default-features --features postgres
fi
