# shellcheck shell=bash
# Sourced by every script of the testbed: where things are, how progress is shown, who holds the lock.

ROOT=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
TESTBED=$ROOT/testbed
# Everything of one instance lives below this directory, and `down` removes it.
TB=$(realpath -m "${TIDEGATE_TESTBED_DIR:-$ROOT/target/testbed}")
CACHE=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tidegate}

export LC_ALL=C
umask 022
# Debian keeps nft, ip and modprobe where a user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

# `set -e` ends a script without a word; this is the word.
trap 'echo "testbed: ${0##*/}: line $LINENO: failed: $BASH_COMMAND" >&2' ERR

fail() { echo "testbed: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The env file is read by bash and, line by line, by tests: neither shall need quoting.
case $TB in *[!A-Za-z0-9/._+@,:=-]*) fail "the directory '$TB' has a character that needs quoting; choose another with TIDEGATE_TESTBED_DIR" ;; esac

# Milliseconds, without a process.
now() { local t=${EPOCHREALTIME/./}; echo "${t%???}"; }

seconds_since() { local ms=$(($(now) - $1)); printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100)); }

# report PART STARTED_AT TEXT: the one line that each part shows.
report() { printf '  %-23s %7s  %s\n' "$1" "$(seconds_since "$2")" "$3"; }

# Writes stdin to a file in one step, so that an interruption leaves the old file or the new one.
put() { cat >"$1.new" && mv -f "$1.new" "$1"; }

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Processes that work for an `up` or `down` (a build, a kubectl) carry this mark: the script's process, when that was
# started, and the instance. Should the script be killed, whoever comes next can tell its orphans by it.
started_at() { local stat; stat=$(cat "/proc/$1/stat" 2>/dev/null) && awk '{ print $20 }' <<<"${stat##*) }"; }
export TIDEGATE_TESTBED_WORKER=${TIDEGATE_TESTBED_WORKER:-"$$ $(started_at $$) $TB"}

end_orphaned_workers() {
  local f owner start
  for f in $(grep -lzE "^TIDEGATE_TESTBED_WORKER=[0-9]+ [0-9]+ $TB\$" /proc/[0-9]*/environ 2>/dev/null); do
    read -r owner start < <(tr '\0' '\n' <"$f" 2>/dev/null | sed -n 's/^TIDEGATE_TESTBED_WORKER=\([0-9]*\) \([0-9]*\) .*/\1 \2/p') || continue
    f=${f#/proc/}; f=${f%/environ}
    if [ "$f" != $$ ] && [ "$(started_at "$owner")" != "$start" ]; then kill -KILL "$f" 2>/dev/null || true; fi
  done
}

# One `up` or `down` of an instance at a time. The lock is on the directory itself: no file is left over, and a
# directory that `down` removed meanwhile is noticed, because the name then leads elsewhere.
LOCK=''
NODE_LOCK=''
lock_instance() {
  local said=
  [ -z "${TIDEGATE_TESTBED_LOCKED:-}" ] || return 0
  while :; do
    # Keys, tokens and passwords live in it.
    mkdir -p "$TB" && chmod 700 "$TB"
    exec {LOCK}<"$TB"
    until flock --nonblock "$LOCK"; do
      [ -n "$said" ] || { said=1; echo "waiting for another up or down of $TB"; }
      end_orphaned_workers
      sleep 0.2
    done
    if [ "/proc/$$/fd/$LOCK" -ef "$TB" ]; then break; fi
    exec {LOCK}<&-
  done
  end_orphaned_workers
  # Scripts called by this one work under its lock.
  export TIDEGATE_TESTBED_LOCKED=$$
}
