# shellcheck shell=bash
# The steps of .ci/run that are more than one command. Each runs in a shell of its own under `set -e`.

features=(mio deflate simdutf8 getrandom json log tls)
oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

components() {
    local tool missing=()
    cargo fmt --version || missing+=(rustfmt)
    cargo clippy --version || missing+=(clippy)
    for tool in "${missing[@]}"; do
        run rustup component add "$tool"
    done
}

# The tests against zlib pass where there is no Python, which is right at a desk.
zlib() {
    command -v python3 || debian python3
    export ZLIB_REQUIRED=1
    some_tests bounded 600 cargo test --locked --test all zlib::
}

format() {
    run cargo fmt --all --check
    run cargo fmt --manifest-path fuzz/Cargo.toml --check
    run cargo fmt --manifest-path benches/e2e/Cargo.toml --check -- --config-path rustfmt.toml
    run cargo fmt --manifest-path tests/interop/rust/Cargo.toml --check -- --config-path rustfmt.toml
    run cargo fmt --manifest-path tests/deep/schemata/Cargo.toml --check -- --config-path rustfmt.toml
}

# On all targets with all features, with the default ones and with none; the library with each feature alone.
clippy() {
    local feature lint=(cargo clippy --locked --all-targets)
    run "${lint[@]}" -- -D warnings
    run "${lint[@]}" --workspace -- -D warnings
    run "${lint[@]}" -p framewire-cluster --all-features -- -D warnings
    # Scripts run these tests, `cargo test` does not: `--all-targets` leaves them out.
    run cargo clippy --locked --test proxies --test slow_links -- -D warnings
    run cargo clippy --locked -p framewire-heap-tests --test endurance -- -D warnings
    run "${lint[@]}" --all-features -- -D warnings
    run "${lint[@]}" --no-default-features -- -D warnings
    for feature in "${features[@]}"; do
        run cargo clippy --locked --lib --no-default-features --features "$feature" -- -D warnings
    done
}

# The lines of code, without comments and documentation.
code_of() {
    grep -rnE --include='*.rs' '' "$@" | grep -vE '^[^:]+:[0-9]+:[[:space:]]*//'
}

refuse() {
    if [ -n "$1" ]; then
        printf '%s:\n%s\n' "$2" "$1"
        return 1
    fi
}

# The lint forbids it; this also sees what a `cfg` hides from the compiler.
no_unsafe() {
    grep -qE '^unsafe_code = "forbid"$' Cargo.toml
    refuse "$(code_of src cluster | grep -wE 'unsafe' | grep -vE 'forbid\(unsafe_code\)' || true)" 'unsafe code'
    echo 'no unsafe in src/ and cluster/'
}

dependencies() {
    at_most 12
    at_most 5 --no-default-features
    # The client of Redis brings most of them.
    at_most 60 -p framewire-cluster
    from_elsewhere
    licences MIT Apache-2.0 BSD-3-Clause Zlib
}

# Of what a user compiles, only this crate is not from the registry.
from_elsewhere() {
    local found
    found=$(cargo tree --locked -e normal --prefix none --format '{p}' | sort -u | grep -F '(' |
        grep -vE '^framewire v[^ ]+ \(' || true)
    refuse "$found" 'not from the registry'
}

# licences ALLOWED...: each crate that a user compiles may be had under allowed ones. cargo-deny, which
# is told the same by deny.toml, knows more, but is not on every machine.
licences() {
    local found
    found=$(cargo tree --locked -e normal --prefix none --format '{p}|{l}' | sort -u |
        awk -F'|' -v allowed=" $* " '
            {
                gsub(/[()]/, "", $2)
                fine = 0
                count = split($2, choices, / OR |\//)
                for (i = 1; i <= count; i++) {
                    parts = split(choices[i], all, / AND /)
                    bad = parts == 0
                    for (j = 1; j <= parts; j++) bad += !index(allowed, " " all[j] " ")
                    fine += !bad
                }
                if (!fine) print $1 ": " ($2 ? $2 : "none is named")
            }')
    refuse "$found" 'licences that deny.toml does not allow'
    printf 'licences: %s\n' "$*"
}

# at_most LIMIT OPTIONS...: counts the crates that a user of this one compiles, itself included.
at_most() {
    local limit=$1 tree count
    shift
    tree=$(cargo tree --locked -e normal --prefix none "$@" | sed 's/ (\*)$//' | sort -u)
    count=$(wc -l <<<"$tree")
    printf '%s\n%d crates, %d at most\n\n' "$tree" "$count" "$limit"
    [ "$count" -gt 1 ] && [ "$count" -le "$limit" ]
}

no_default_features() {
    bounded 600 cargo test --locked --no-default-features
    bounded 600 cargo test --locked --no-default-features -p framewire-heap-tests -p framewire-failing-memory-tests
}

one_feature_each() {
    local feature
    for feature in "${features[@]}"; do
        bounded 600 cargo test --locked --no-default-features --features "$feature" --lib
    done
}

documentation() {
    export RUSTDOCFLAGS='-D warnings'
    run cargo doc --locked --no-deps --all-features
    run cargo doc --locked --no-deps --all-features --document-private-items
    run cargo doc --locked --no-deps --no-default-features
    run cargo doc --locked --no-deps -p framewire-cluster
}

# Holds all that is public against docs/public_face.txt.
public_face() {
    command -v python3 || debian python3
    run .ci/public_face.py
}

# Looks up what people search for in the documentation, as docs.rs builds it.
search() {
    there .ci/search.mjs
    toolchain nightly
    command -v node || debian nodejs
    run .ci/search.mjs
}

# Builds what would be published, from the files that would be in it. Refuses uncommitted changes.
package() {
    # What was fetched for the steps before is enough.
    run cargo package --locked --offline
    local archive files
    archive=$(target_directory)/package/framewire-$(version).crate
    files=$(tar -tzf "$archive")
    for wanted in README.md LICENSE-MIT LICENSE-APACHE CHANGELOG.md src/lib.rs; do
        grep -qx "framewire-$(version)/$wanted" <<<"$files" || {
            echo "the package has no $wanted"
            return 1
        }
    done
    ls -l "$archive"
}

version() {
    awk -F'"' '/^version = / { print $2; exit }' Cargo.toml
}

target_directory() {
    cargo metadata --locked --no-deps --format-version 1 |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# With twice the sessions of the model.
release() {
    local -x MODEL_SESSIONS=10000
    bounded 1200 cargo test --locked --release --all-features --lib --tests
}

# The event loop in ten thousand simulated worlds.
worlds() {
    local -x FRAMEWIRE_WORLDS=10000
    some_tests bounded 600 cargo test --locked --release --all-features --lib simulation
}

# Compiles and runs each benchmark once. To join all crates at link time is for who measures.
benches() {
    export CARGO_PROFILE_BENCH_LTO=false CARGO_PROFILE_BENCH_CODEGEN_UNITS=16
    run cargo bench --locked -p framewire-benches -- --test
    run cargo check --locked --all-features --manifest-path benches/e2e/Cargo.toml
    local script
    for script in benches/e2e/run benches/report; do
        there "$script"
    done
}

budget() {
    there benches/budget/run
    command -v valgrind || debian valgrind
    bounded 600 benches/budget/run
}

system_calls() {
    there tests/system_calls/run
    command -v strace || debian strace
    bounded 300 tests/system_calls/run
}

oldest_rust() {
    toolchain "$oldest"
    run cargo "+$oldest" check --locked --all-features
    run cargo "+$oldest" check --locked --no-default-features
}

# toolchain NAME: has rustup install it, or skips the step.
toolchain() {
    cargo "+$1" --version 2>/dev/null && return
    command -v rustup >/dev/null || skip "no rustup to install Rust $1"
    run rustup toolchain install "$1" --profile minimal || skip "Rust $1 cannot be installed here"
}

# installed NAME: has cargo install its subcommand of that name, or skips the step. Unoptimised it is there in a third of the
# time, and none of them has much to do.
installed() {
    cargo "$1" --version 2>/dev/null && return
    run cargo install --quiet --locked --debug "cargo-$1" || skip "cargo-$1 cannot be installed here"
}

# compiles_for TARGET: with the loop and the client, and the engine alone. Without TLS, whose C code would want a compiler and
# headers for the target.
compiles_for() {
    command -v rustup >/dev/null || skip "no rustup to install the target $1"
    run rustup target add "$1" || skip "the target $1 cannot be installed here"
    # Nobody builds for these from day to day, so nobody else would see a warning.
    run env RUSTFLAGS=-Dwarnings cargo check --locked --lib --target "$1"
    run env RUSTFLAGS=-Dwarnings cargo check --locked --no-default-features --lib --target "$1"
}

narrow() {
    compiles_for i686-unknown-linux-gnu
}

# The engine alone, where there is no I/O; and if there is Node, it runs.
wasm() {
    local target=wasm32-unknown-unknown program
    command -v rustup >/dev/null || skip "no rustup to install the target $target"
    run rustup target add "$target" || skip "the target $target cannot be installed here"
    run cargo check --locked --no-default-features --features deflate --lib --target "$target"
    run cargo build --locked -p wasm_engine --target "$target"
    command -v node || skip 'it compiles; there is no Node to run it'
    program=$(target_directory)/$target/debug/wasm_engine.wasm
    run node -e '
        const program = new WebAssembly.Module(require("fs").readFileSync(process.argv[1]));
        process.exit(new WebAssembly.Instance(program).exports.main(0, 0));
    ' "$program"
}

# alone DIRECTORY: puts the crate there as a user gets it. Beside the other members it would have their features.
alone() {
    run cargo package --locked --offline --no-verify
    tar -xzf "$(target_directory)/package/framewire-$(version).crate" -C "$1" --strip-components=1
}

deny() {
    installed deny
    local directory
    directory=$(mktemp -d)
    alone "$directory"
    cp deny.toml "$directory"
    run cargo deny --manifest-path "$directory/Cargo.toml" --locked check bans licenses sources
    rm -rf "$directory"
}

# Of each dependency the oldest version that Cargo.toml allows.
oldest_dependencies() {
    toolchain nightly
    local directory target
    directory=$(mktemp -d)
    target=$(target_directory)/oldest_dependencies
    alone "$directory"
    cd "$directory"
    run cargo +nightly update -Z direct-minimal-versions
    run cargo +nightly check --locked --lib --all-features --target-dir "$target"
    rm -rf "$directory"
}

# Which lines of the engine its own tests run.
coverage() {
    there tests/deep/coverage
    installed llvm-cov
    run rustup component add llvm-tools || skip 'this Rust has no llvm-tools'
    command -v python3 || debian python3
    bounded 600 tests/deep/coverage
}

# The wire layer is where bytes are cut and words are read; no test there does I/O. Exhaustive tests are
# left out: each of their hundred thousand turns would be interpreted.
wire_tests=(--locked --no-default-features --lib)
wire_filter=(wire:: --skip every --skip accepts_exactly)

miri() {
    have_miri
    some_tests bounded 900 cargo +nightly miri test "${wire_tests[@]}" -- "${wire_filter[@]}"
}

# Masking reads words from bytes: it must not matter in which order the machine does.
miri_big_endian() {
    have_miri
    some_tests bounded 900 cargo +nightly miri test "${wire_tests[@]}" \
        --target s390x-unknown-linux-gnu -- "${wire_filter[@]}"
}

# Fails, too, if the filter has come to match no test.
some_tests() {
    local log
    log=$(mktemp)
    "$@" | tee "$log"
    grep -qE '^running [1-9]' "$log" || { echo 'no test ran'; return 1; }
    rm -f "$log"
}

have_miri() {
    toolchain nightly
    if ! cargo +nightly miri --version; then
        command -v rustup >/dev/null || skip 'no rustup to install Miri'
        run rustup component add --toolchain nightly miri rust-src ||
            skip 'this nightly Rust has no Miri'
    fi
    export CARGO_TARGET_DIR
    CARGO_TARGET_DIR=$(target_directory)/miri
    # In a condition the step would not end at a failure, so it is looked at by itself.
    local ready=true
    run cargo +nightly miri setup || ready=false
    $ready || skip 'Miri cannot build its standard library here'
}

fuzzing() {
    there fuzz/run
    toolchain nightly
    installed fuzz
    run fuzz/run smoke
}

browser() {
    there tests/browser/run
    command -v chromium || command -v chromium-browser || debian chromium
    node_and_npm
    command -v openssl || debian openssl
    command -v redis-server || debian redis-server
    # The script passes where it cannot run, which is right at a desk.
    export BROWSER_REQUIRED=1
    bounded 1200 tests/browser/run
}

faults() {
    there tests/faults/run
    command -v strace || debian strace
    bounded 900 tests/faults/run
}

close_codes() {
    there tests/endurance/run
    bounded 600 tests/endurance/run close 1000
}

slow_links() {
    there tests/slow_links/run
    bounded 300 tests/slow_links/run
}

# mio tells of a socket in two ways, by system: here each once more only after it has said that nothing is left.
poll_backend() {
    local -x RUSTFLAGS="${RUSTFLAGS-} --cfg mio_unsupported_force_poll_poll"
    bounded 900 cargo test --locked --target-dir "${CARGO_TARGET_DIR:-target}/poll" --test server --test client
}

# A short one: who adds a test runs more of it.
under_load() {
    there tests/under_load/run
    bounded 1200 tests/under_load/run 2 4 server client
}

interop() {
    there tests/interop/run
    command -v chromium || command -v chromium-browser || debian chromium
    node_and_npm
    # The script passes where a peer is missing, which is right at a desk.
    export INTEROP_REQUIRED=1
    bounded 1200 tests/interop/run
}

# The same sessions with the servers and the clients of others; a release takes all 10,000 of each.
differential() {
    there tests/deep/differential
    node_and_npm
    python_venv
    export INTEROP_REQUIRED=1
    bounded 300 tests/deep/differential 300
}

proxies() {
    there tests/proxies/run
    python_venv
    command -v nginx || debian nginx-light
    command -v haproxy || debian haproxy
    # The script passes where a proxy is missing, which is right at a desk.
    export PROXIES_REQUIRED=1
    bounded 600 tests/proxies/run
}

odd_servers() {
    there tests/odd_servers/run
    node_and_npm
    # The script passes where the others are missing, which is right at a desk.
    export ODD_SERVERS_REQUIRED=1
    bounded 600 tests/odd_servers/run
}

cluster() {
    there tests/cluster/run
    there tests/cluster/partition
    command -v redis-server || debian redis-server
    # The script and the tests pass where there is no Redis, which is right at a desk.
    export CLUSTER_REQUIRED=1
    bounded 600 cargo test --locked -p framewire-cluster --all-features
    bounded 600 tests/cluster/run
    # It says where no network namespace can be made, which is no fault.
    CLUSTER_REQUIRED=0 bounded 300 tests/cluster/partition
}

node_and_npm() {
    command -v node || debian nodejs
    command -v npm || debian npm
}

python_venv() {
    command -v python3 || debian python3
    python3 -m venv --help >/dev/null || debian python3-venv
}

# debian PACKAGE: installs it, or skips the step.
debian() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || skip "no $1, and no right to install it"
    export DEBIAN_FRONTEND=noninteractive
    { run apt-get update -q && run apt-get install -qy --no-install-recommends "$1"; } ||
        skip "$1 cannot be installed here"
}

autobahn() {
    there autobahn/run
    local role=all code=0
    # The client is judged as soon as there is one.
    [ -e examples/autobahn_client.rs ] || role=server
    run autobahn/run "$role" || code=$?
    [ "$code" != 3 ] || skip 'no Autobahn suite here: see autobahn/README.md'
    return "$code"
}

# A script that this run relies on. Missing is a failure, not a reason to skip.
there() {
    [ -x "$1" ] || { echo "$1 is missing or not executable"; return 1; }
}
