# shellcheck shell=bash
# Debian packages: which a level needs, and their installation where that is possible.

# One line per package: its name and a file or command that shows it is there (also where it came another way).
packages_for() {
  case $1 in
    build) printf '%s\n' "gcc gcc" "libc6-dev /usr/include/stdio.h" "pkg-config pkg-config" "make make" \
      "git git" "curl curl" "openssl openssl" "ca-certificates /etc/ssl/certs/ca-certificates.crt" ;;
    control-plane) printf '%s\n' "openssl openssl" "curl curl" "ca-certificates /etc/ssl/certs/ca-certificates.crt" ;;
    node)
      packages_for build
      printf '%s\n' "containerd containerd" "runc runc" "containernetworking-plugins /usr/lib/cni/bridge" "nftables nft" "iproute2 ip" "kmod modprobe" \
        "procps sysctl" "prometheus prometheus" ;;
    *) fail "there is no level '$1': choose control-plane, node or build" ;;
  esac
}

missing_packages() {
  local package evidence
  packages_for "$1" | while read -r package evidence; do
    case $evidence in
      /*) [ -e "$evidence" ] || echo "$package" ;;
      *) have "$evidence" || echo "$package" ;;
    esac
  done
}

ensure_packages() {
  local missing started
  missing=$(missing_packages "$1" | tr '\n' ' ')
  missing=${missing% }
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    fail "the level '$1' needs these packages: $missing. Install them as root: apt-get install --no-install-recommends $missing"
  elif ! have apt-get; then
    fail "the level '$1' needs these Debian packages, or what your system calls them: $missing. There is no apt-get here, so install them yourself"
  fi
  started=$(now)
  echo "  installing Debian packages: $missing"
  # shellcheck disable=SC2086 # a list of packages
  install_packages $missing || fail "cannot install the packages: $missing"
  missing=$(missing_packages "$1" | tr '\n' ' ')
  [ -z "$missing" ] || fail "these packages were installed, but what they should bring is still missing: $missing"
  report packages "$started" installed
}

# Debian starts and enables a daemon with its package. The testbed runs its own with its own configuration, so neither
# shall happen: policy-rc.d forbids the start, and a unit that was not there before is disabled.
install_packages() {
  local policy=/usr/sbin/policy-rc.d ours='' units=() unit log rc=0
  log=$(mktemp)
  for unit in containerd prometheus; do
    have "$unit" || units+=("$unit.service")
  done
  if [ ! -e "$policy" ]; then
    ours=1
    # shellcheck disable=SC2064 # the path as it is now
    trap "rm -f '$policy'" EXIT
    printf '#!/bin/sh\n# tidegate testbed: no daemon is started while its packages are installed\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  elif grep -q '^# tidegate testbed' "$policy"; then
    ours=1
  fi
  export DEBIAN_FRONTEND=noninteractive
  { dpkg --configure -a && apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1 || rc=$?
  if [ -n "$ours" ]; then rm -f "$policy"; trap - EXIT; fi
  if [ -d /run/systemd/system ] && [ ${#units[@]} -gt 0 ]; then systemctl disable --now "${units[@]}" >>"$log" 2>&1 || true; fi
  if [ $rc != 0 ]; then tail -n 20 "$log" >&2; fi
  rm -f "$log"
  return $rc
}
