# shellcheck shell=bash
# Free ports, remembered by name, so that a part keeps its port over restarts.

# Below the ephemeral and NodePort ranges. Every instance searches from a place of its own: two that start at the
# same moment do not compete for the same numbers.
first_port() { local sum; sum=$(cksum <<<"$TB"); echo $((20000 + ${sum%% *} % 480 * 20)); }

listening() { awk -v want="$(printf '%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 3) == want { f = 1 } END { exit !f }' /proc/net/tcp /proc/net/tcp6 2>/dev/null; }

# port NAME [PART]: the port remembered under that name. When the part (default: the name) is dead and someone else
# has taken the port meanwhile, another is chosen.
port() {
  local file=$TB/port/$1 p=''
  if { read -r p <"$file"; } 2>/dev/null && [ -n "$p" ]; then
    if pid_of "${2:-$1}" >/dev/null || ! listening "$p"; then echo "$p"; return; fi
  fi
  p=$(first_port)
  while listening "$p" || grep -qsx "$p" "$TB"/port/*; do p=$((p + 1)); done
  echo "$p" | put "$file"
  echo "$p"
}
