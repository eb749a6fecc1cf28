# shellcheck shell=bash
# The levels of tests. Each prints its own output; `summary` says how many passed where.

REQUIRED=${TIDEGATE_REQUIRE_NODE:-}
LOG=$(mktemp -d)
INSTANCE=$PWD/target/test-control-plane
# A node that somebody brought up before is theirs to take down.
NODE_WAS_UP=''
[ ! -e target/testbed/env ] || NODE_WAS_UP=1
RESULTS=()
STARTED=$(date +%s)

# Whatever ends this script, nothing of it stays.
finish() {
  local code=$?
  trap - EXIT
  TIDEGATE_TESTBED_DIR=$INSTANCE testbed/down >/dev/null 2>&1 || true
  [ -n "$NODE_WAS_UP" ] || testbed/down >/dev/null 2>&1 || true
  rm -rf "$LOG"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

prepare() {
  testbed/packages build
  if ! command -v cargo >/dev/null; then echo "Rust is needed: https://rustup.rs" >&2; exit 1; fi
  if ! command -v go >/dev/null; then echo "Go is needed: https://go.dev/dl" >&2; exit 1; fi
}

# level NAME FUNCTION: runs one level and notes its count and time; the first that fails ends the run.
level() {
  local name=$1 began count
  began=$(date +%s)
  printf '\n== %s\n' "$name"
  "$2" 2>&1 | tee "$LOG/$name"
  if [ -e "$LOG/skipped" ]; then
    RESULTS+=("$(printf '%-14s %s' "$name" "skipped: $(cat "$LOG/skipped")")")
    rm "$LOG/skipped"
    return
  fi
  count=$(passed "$LOG/$name")
  RESULTS+=("$(printf '%-14s %4d passed in %4d s' "$name" "$count" $(($(date +%s) - began)))")
}

# How many tests a log says have passed: of cargo, of go, and the claims that the demo checked.
passed() {
  awk '/^test result: ok\./ { sum += $4 } /^--- PASS|^    --- PASS/ { sum++ } / checked: / { sum++ } END { print sum + 0 }' "$1"
}

# skip WHY: this level cannot run here. In CI that is a failure.
skip() {
  if [ "$REQUIRED" = 1 ]; then echo "required, but cannot run here: $1" >&2; return 1; fi
  echo "skipped: $1"
  echo "$1" >"$LOG/skipped"
}

rust_pure() {
  local tests=() file
  for file in tests/*.rs tests/*/main.rs; do
    file=${file#tests/}
    file=${file%/main.rs}
    file=${file%.rs}
    case $file in control_plane | node) ;; *) tests+=(--test "$file") ;; esac
  done
  cargo test --lib --bins "${tests[@]}"
}

go_units() {
  local folder
  for folder in testbed/*/; do
    if ls "$folder"*_test.go >/dev/null 2>&1; then (cd "$folder" && GOTOOLCHAIN=local go test -v ./...); fi
  done
}

# An API server of its own, beside whatever node is up.
control_plane() {
  export TIDEGATE_TESTBED_DIR=$INSTANCE
  testbed/up control-plane
  # shellcheck disable=SC1091
  . "$INSTANCE/env"
  # Faults at every call, and replicas at each other's heels, take minutes and are judged by time: make soak.
  TIDEGATE_CONTROL_PLANE_KUBECONFIG=$KUBECONFIG TIDEGATE_REQUIRE_NODE=1 cargo test --test control_plane -- --skip plans:: --skip replicas:: --skip leader::
  testbed/down
}

# Releases on a real node, under load; then the whole story, of which the demo checks every claim from outside.
node() {
  local why
  if [ "$(uname -s)" != Linux ]; then skip "a node needs Linux"; return; fi
  if [ "$(id -u)" != 0 ]; then skip "a node needs root"; return; fi
  testbed/up node
  # shellcheck disable=SC1091
  (. target/testbed/env && TIDEGATE_REQUIRE_NODE=1 cargo test --test node -- --test-threads 5)
  testbed/demo/run
}

summary() {
  printf '\n'
  printf '%s\n' "${RESULTS[@]}"
  printf 'all passed in %d s\n' $(($(date +%s) - STARTED))
}
