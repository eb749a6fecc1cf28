# shellcheck shell=bash
# Tools: built from the pinned Go modules under testbed/tools/ into a cache outside the repository.

# The module that a tool comes from.
module_of() {
  case $1 in
    etcd | traefik | gitea) echo "$1" ;;
    kube-apiserver | kube-controller-manager | kube-scheduler | kube-proxy | kubelet | kubectl) echo k8s ;;
    *) fail "there is no tool '$1'" ;;
  esac
}

# pinned MODULE PATH: the version that a module's go.mod asks for.
pinned() { awk -v path="$2" '$1 == "require" { $0 = $2 " " $3 } $1 == path { print $2; exit }' "$TESTBED/tools/$1/go.mod"; }

declare -A TOOL_HOME=()

# tool_home MODULE: its place in the cache. Any change to what is pinned is another place.
tool_home() {
  local sum
  if [ -z "${TOOL_HOME[$1]:-}" ]; then
    sum=$(cd "$TESTBED/tools/$1" && find . -type f | sort | xargs sha256sum | sha256sum)
    TOOL_HOME[$1]=$CACHE/tools/$1-${sum:0:12}
  fi
  HOME_OF=${TOOL_HOME[$1]}
}

# tool NAME: sets TOOL to the path of a binary, which is built if it is nowhere.
tool() {
  local name=$1 module place
  module=$(module_of "$name")
  place=$TB/bin/$name
  # KUBEBUILDER_ASSETS is how the Kubernetes world hands control plane binaries to tests: asked for, so not questioned.
  case $name in etcd | kube-apiserver | kube-controller-manager | kubectl)
    if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$name" ]; then
      link_tool "$KUBEBUILDER_ASSETS/$name" "$place"
      return
    fi
  esac
  tool_home "$module"
  if [ ! -x "$HOME_OF/$name" ]; then
    if same_version_on_path "$name"; then
      link_tool "$(command -v "$name")" "$place"
      return
    fi
    build_tool "$name" "$module" "$HOME_OF"
  fi
  link_tool "$HOME_OF/$name" "$place"
}

link_tool() {
  TOOL=$(realpath "$1")
  [ "$TOOL" -ef "$2" ] || ln -sfn "$TOOL" "$2"
}

same_version_on_path() {
  have "$1" && [[ $(command -v "$1") != "$TB"/* ]] || return 1
  case $1 in
    etcd) [[ $(etcd --version 2>/dev/null) == "etcd Version: $(pinned etcd go.etcd.io/etcd/server/v3 | tr -d v)"$'\n'* ]] ;;
    kube-apiserver) [ "$(kube-apiserver --version 2>/dev/null)" = "Kubernetes $(pinned k8s k8s.io/kubernetes)" ] ;;
    kubectl) [[ $(kubectl version --client 2>/dev/null) == "Client Version: $(pinned k8s k8s.io/kubernetes)"$'\n'* ]] ;;
    *) return 1 ;;
  esac
}

build_tool() {
  local name=$1 module=$2 home=$3 started package flags=() cgo=0
  started=$(now)
  have go || fail "Go is needed to build $name: install Go 1.26 or newer from https://go.dev/dl/ (or put the binaries into the directory that KUBEBUILDER_ASSETS names)"
  case $name in
    etcd) package=go.etcd.io/etcd/server/v3 ;;
    traefik) package=github.com/traefik/traefik/v3/cmd/traefik ;;
    gitea) package=code.gitea.io/gitea cgo=1 flags=(-tags "sqlite sqlite_unlock_notify") ;;
    *) package=k8s.io/kubernetes/cmd/$name ;;
  esac
  local ldflags="-s -w"
  if [ "$module" = k8s ]; then
    local version v=k8s.io/component-base/version
    version=$(pinned k8s k8s.io/kubernetes)
    ldflags+=" -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$(cut -d. -f2 <<<"$version")"
  fi
  printf '  %-23s %7s  building from source: once for this machine, minutes when the Go cache is cold\n' "$name" ""
  mkdir -p "$home"
  # Two instances may want the same tool at once; the second finds it built.
  (
    exec {building}<"$home"
    flock "$building"
    [ ! -x "$home/$name" ] || exit 0
    # No "set -e" in here: bash ignores it left of the "||" below.
    cd "$TESTBED/tools/$module" || exit 1
    rm -f "$home/$name".*
    env GOTOOLCHAIN=local GOWORK=off GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=$cgo \
      go build -trimpath "${flags[@]}" -ldflags "$ldflags" -o "$home/$name.$$" "$package" &&
      "keep_data_of_$module" "$home" &&
      mv -f "$home/$name.$$" "$home/$name"
  ) || fail "cannot build $name"
  report "$name" "$started" "built"
}

module_dir() { env GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly go list -m -f '{{.Dir}}' "$1"; }

# Files that a tool needs beside its binary are kept with it: the module cache may be cleaned at any time.
keep() {
  rm -rf "$2" "$2.new" &&
    mkdir -p "$(dirname "$2")" &&
    cp -r --no-preserve=mode,ownership "$1" "$2.new" &&
    mv "$2.new" "$2"
}
keep_data_of_etcd() { :; }
keep_data_of_k8s() { :; }
keep_data_of_traefik() { keep "$(module_dir sigs.k8s.io/gateway-api)/config/crd/standard" "$1/gateway-api"; }
keep_data_of_gitea() {
  local dir
  dir=$(module_dir code.gitea.io/gitea) &&
    keep "$dir/templates" "$1/static/templates" &&
    keep "$dir/options" "$1/static/options"
}
