# shellcheck shell=bash
# Daemons: started detached, told apart by a mark in their environment, and never killed without it.

# What `run` did with each part: started, repaired, replaced; nothing when it was found well.
declare -A STATE=()

# pid_of PART: the part's first process, if it is alive. A pid file may be stale and its number someone else's by
# now, so it is believed only together with the mark.
pid_of() {
  local pid='' environ=()
  # Without a process of its own: this is asked many times by an `up` that has nothing to do.
  { read -r pid <"$TB/run/$1.pid" && mapfile -d '' environ <"/proc/$pid/environ"; } 2>/dev/null || return 1
  [[ $'\n'$(IFS=$'\n'; echo "${environ[*]}")$'\n' == *$'\n'"TIDEGATE_TESTBED_PART=$TB $1"$'\n'* ]] && echo "$pid"
}

# marked [PART]: this instance's processes (of that part), whether or not a pid file knows them. The mark is
# inherited, so what a daemon starts (shims, git) is found too.
marked() {
  local f name="TIDEGATE_TESTBED=$TB"
  [ -z "${1:-}" ] || name="TIDEGATE_TESTBED_PART=$TB $1"
  for f in $(grep -lzxF "$name" /proc/[0-9]*/environ 2>/dev/null); do
    f=${f#/proc/}; echo "${f%/environ}"
  done
}

# instances_with PARTS: the instances (directories) on this machine that run one of these parts ("a|b").
instances_with() {
  # shellcheck disable=SC2046 # a list of files
  cat $(grep -lzE "^TIDEGATE_TESTBED_PART=.* ($1)\$" /proc/[0-9]*/environ 2>/dev/null) /dev/null 2>/dev/null |
    tr '\0' '\n' | sed -nE "s/^TIDEGATE_TESTBED_PART=(.*) ($1)\$/\1/p" | sort -u || true
}

# run PART COMMAND...: makes sure that the part runs with exactly this command and configuration ($TB/conf/PART*).
# Alive and unchanged: nothing happens. Dead: started. Changed: replaced.
run() {
  local part=$1 fingerprint
  shift
  fingerprint=$({ printf '%s\n' "$@"; cat "$TB/conf/$part"* 2>/dev/null || true; } | sha256sum | cut -c1-16)
  if pid_of "$part" >/dev/null; then
    [ "$(cat "$TB/run/$part.hash" 2>/dev/null)" != "$fingerprint" ] || return 0
    STATE[$part]=replaced
  elif [ -e "$TB/run/$part.pid" ]; then
    STATE[$part]=repaired
  else
    STATE[$part]=started
  fi
  stop "$part"
  now | put "$TB/run/$part.since"
  echo "$fingerprint" | put "$TB/run/$part.hash"
  (
    # The locks must not outlive this script in a daemon, and a daemon is no worker of it.
    [ -z "$LOCK" ] || exec {LOCK}<&-
    [ -z "$NODE_LOCK" ] || exec {NODE_LOCK}<&-
    unset TIDEGATE_TESTBED_WORKER TIDEGATE_TESTBED_LOCKED
    export TIDEGATE_TESTBED="$TB" TIDEGATE_TESTBED_PART="$TB $part"
    cd /
    # Its own session: a ctrl-C meant for `up` shall not end the daemons.
    exec setsid "$@" >>"$TB/log/$part.log" 2>&1 </dev/null
  ) &
  echo $! | put "$TB/run/$part.pid"
  disown
}

# stop [PART]: ends the part's processes (or the whole instance's), found by mark, and waits until they are gone.
# SIGKILL: every daemon here survives a crash, and what it kept is mostly thrown away next.
stop() {
  local pids i killed='' pid
  for ((i = 0; i < 200; i++)); do
    pids=$(marked ${1:+"$1"})
    if [ -n "$pids" ]; then
      killed+=" $pids"
      # shellcheck disable=SC2086 # a list of pids
      kill -KILL $pids 2>/dev/null || true
    else
      # A process loses its mark a moment before it gives back its sockets and mounts.
      for pid in $killed; do
        if is_ending "$pid"; then sleep 0.02; continue 2; fi
      done
      return 0
    fi
    sleep 0.02
  done
  fail "cannot end these processes: $(echo $pids)"
}

is_ending() { grep -qs '^State:.[^ZX]' "/proc/$1/status" && ! grep -qsz . "/proc/$1/environ"; }

# until_ready PART SECONDS: waits for the part's health check (function ready_PART). A part that was found running but
# does not answer is started anew, once; one that dies or stays silent shows the end of its log.
until_ready() {
  local part=$1 limit=$2 deadline
  deadline=$(($(now) + limit * 1000))
  [ -n "${STATE[$part]:-}" ] || deadline=$(($(now) + 5000))
  until "ready_$part" >/dev/null 2>&1; do
    if ! pid_of "$part" >/dev/null; then
      part_failed "$part" "ended while it was starting"
    elif [ "$(now)" -ge "$deadline" ]; then
      [ -z "${STATE[$part]:-}" ] || part_failed "$part" "was not ready after $limit s"
      stop "$part"
      "start_$part"
      deadline=$(($(now) + limit * 1000))
    fi
    sleep 0.1
  done
  [ -z "${STATE[$part]:-}" ] || report "$part" "$(cat "$TB/run/$part.since")" "${STATE[$part]}"
}

part_failed() {
  echo "testbed: $1 $2. The end of $TB/log/$1.log:" >&2
  tail -n 20 "$TB/log/$1.log" | cut -c1-400 | sed 's/^/    /' >&2
  exit 1
}
