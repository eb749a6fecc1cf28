# shellcheck shell=bash
# cargo-deny, from the package registry by name, kept in the cache beside the other tools.
DENY_VERSION=0.20.2

# cargo_deny: licences, bans and sources of everything that is linked. Advisories need a database from the network:
# `cargo deny check advisories` where there is one.
cargo_deny() {
  local home=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}/tools/cargo-deny-$DENY_VERSION
  if [ ! -x "$home/bin/cargo-deny" ]; then
    echo "building cargo-deny $DENY_VERSION (once, some minutes)"
    cargo install --quiet --locked --version "$DENY_VERSION" --root "$home.new" cargo-deny
    mkdir -p "$(dirname "$home")"
    rm -rf "$home"
    mv "$home.new" "$home"
  fi
  "$home/bin/cargo-deny" --log-level warn check bans licenses sources
}
