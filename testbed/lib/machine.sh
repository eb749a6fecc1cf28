# shellcheck shell=bash
# What the node level changes on the machine, outside the instance's directory, and how that is undone.
# One node per machine, so the names are fixed.

BRIDGE=tidegate0
BRIDGE_IP=10.244.0.1
NODE=testbed
CGROUP=tidegate-testbed
# For ctr, too. Not the usual name: outside of the node's namespace that may be another containerd's.
export CONTAINERD_ADDRESS=/run/containerd/tidegate-testbed.sock CONTAINERD_NAMESPACE=k8s.io

# Directories that the node covers with memory file systems of its own namespace; they must exist to be covered.
COVERED=(/run/containerd /var/lib/containerd /var/lib/kubelet /var/lib/cni /var/log/containers)

# The kubelet and the bridge set these.
SYSCTLS=(net.ipv4.ip_forward net.ipv6.conf.all.forwarding vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
  kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

# why_no_node: says why this machine cannot run the node level; silent when it can.
why_no_node() {
  local name
  if [ "$(uname -s)" != Linux ]; then echo "it needs Linux, and this is $(uname -s)"; return; fi
  if [ "$(id -u)" != 0 ]; then echo "it needs root (network, mounts, cgroups), and this is $(id -un)"; return; fi
  if ! unshare --mount --pid --fork --mount-proc true 2>/dev/null; then echo "this machine forbids new mount and process namespaces (unshare)"; return; fi
  if ! make_cgroups 2>/dev/null; then echo "the control groups below /sys/fs/cgroup cannot be written"; return; fi
  for name in kubelet kube-proxy k3s; do
    if foreign_process "$name"; then echo "a $name that is not the testbed's runs here, and two would fight over the same rules"; return; fi
  done
}

# Whether a process of that name runs that no instance of the testbed started.
foreign_process() {
  local f
  for f in $(grep -lx "$1" /proc/[0-9]*/comm 2>/dev/null); do
    f=${f%comm}environ
    # A process that is just ending has no environment any more.
    if grep -qsz . "$f" && ! grep -qsz '^TIDEGATE_TESTBED=' "$f"; then return 0; fi
  done
  return 1
}

cgroup_roots() {
  local d
  for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ ! -L "$d" ] && [ -e "$d/cgroup.procs" ] || continue
    # Below a unified hierarchy, directories are groups of others and not hierarchies.
    [ "$d" = /sys/fs/cgroup ] || [ ! -e /sys/fs/cgroup/cgroup.procs ] || continue
    echo "$d"
  done
}

# The node's pods live below a group of their own: a kubelet removes every group that it does not know.
make_cgroups() {
  local root c
  for root in $(cgroup_roots); do
    if [ -e "$root/cgroup.controllers" ]; then
      for c in $(cat "$root/cgroup.controllers"); do echo "+$c" >"$root/cgroup.subtree_control" || true; done
    fi
    mkdir -p "$root/$CGROUP" || return 1
    # A new group of the older cpuset hierarchy is empty, and takes no process until it is filled.
    for c in cpuset.cpus cpuset.mems; do
      if [ -e "$root/cgroup.clone_children" ] && [ -e "$root/$c" ]; then cat "$root/$c" >"$root/$CGROUP/$c" || true; fi
    done
  done
}

remove_cgroups() {
  local root tries
  for root in $(cgroup_roots); do
    for ((tries = 0; tries < 50; tries++)); do
      [ -d "$root/$CGROUP" ] || break
      find "$root/$CGROUP" -depth -type d -exec rmdir {} \; 2>/dev/null || true
      [ ! -d "$root/$CGROUP" ] || sleep 0.1
    done
  done
}

# The node's parts of the machine belong to one instance at a time.
lock_machine() {
  if [ -n "$NODE_LOCK" ]; then return; fi
  exec {NODE_LOCK}</usr/lib/cni
  flock --nonblock "$NODE_LOCK" || { echo "waiting for another instance's up or down of the node level"; flock "$NODE_LOCK"; }
}

others_node() { instances_with 'node|kube-proxy' | grep -vxF "$TB" || true; }

prepare_machine() {
  local d name value
  mkdir -p "$TB/host"
  # Noted once: a repair must not take the node's own values for the machine's.
  if [ ! -s "$TB/host/sysctls" ]; then
    for name in "${SYSCTLS[@]}"; do
      if value=$(sysctl -n "$name" 2>/dev/null); then echo "$name=$value"; fi
    done | put "$TB/host/sysctls"
  fi
  for d in "${COVERED[@]}"; do
    [ -d "$d" ] || { echo "$d" >>"$TB/host/made"; mkdir -p "$d"; }
  done
  make_cgroups
  # Loading it may be impossible or needless (built in); kube-proxy is set up to work without.
  modprobe br_netfilter 2>/dev/null || true
  ip link show "$BRIDGE" >/dev/null 2>&1 || ip link add "$BRIDGE" type bridge
  ip -4 -o addr show dev "$BRIDGE" | grep -q " $BRIDGE_IP/16 " || ip addr add "$BRIDGE_IP/16" dev "$BRIDGE"
  ip link set "$BRIDGE" up
}

# Undoes all of the above, as far as it is there. Without a record of this instance only what carries our name goes.
restore_machine() {
  local d tries table=
  if ip link show "$BRIDGE" >/dev/null 2>&1; then
    table=1
    # The pods' ends vanish with their namespaces, a moment after the processes.
    for ((tries = 0; tries < 50; tries++)); do
      [ -n "$(ip -o link show master "$BRIDGE")" ] || break
      sleep 0.05
    done
    for d in $(ip -o link show master "$BRIDGE" | awk -F'[:@ ]+' '{ print $2 }'); do ip link del "$d" 2>/dev/null || true; done
    ip link del "$BRIDGE"
  fi
  if { [ -n "$table" ] || [ -d "$TB/host" ]; } && ! foreign_process kube-proxy; then
    nft delete table ip kube-proxy 2>/dev/null || true
    nft delete table ip6 kube-proxy 2>/dev/null || true
  fi
  remove_cgroups
  if [ -s "$TB/host/sysctls" ]; then sysctl -q -p "$TB/host/sysctls" >/dev/null 2>&1 || true; fi
  if [ -s "$TB/host/made" ]; then tac "$TB/host/made" | xargs -r rmdir --ignore-fail-on-non-empty 2>/dev/null || true; fi
}
