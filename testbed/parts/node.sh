# shellcheck shell=bash
# containerd, kubelet and all pods, in private mount and process namespaces: they end together, and what they mount
# or leave in /run and /var is never seen outside.
start_node() {
  kubeconfig "$TB/node.kubeconfig" node
  mkdir -p "$TB/cni"
  # isDefaultGateway: without it pods have no route to Service addresses. Leases live in the node's memory.
  put "$TB/cni/10-testbed.conflist" <<K
{"cniVersion": "0.4.0", "name": "testbed", "plugins": [{"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "/run/containerd/ipam", "ranges": [[{"subnet": "${BRIDGE_IP%.*.*}.0.0/16"}]]}}]}
K
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc dies over a score that it may not lower.
  put "$TB/conf/node-containerd.toml" <<K
version = 2
root = "/var/lib/containerd"
state = "/run/containerd/state"
[grpc]
  address = "$CONTAINERD_ADDRESS"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$(cat "$TB/images/pause.ref")"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$TB/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
K
  local resolv=/etc/resolv.conf
  [ -e "$resolv" ] || resolv='""'
  put "$TB/conf/node-kubelet.yaml" <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $BRIDGE_IP
port: $(port kubelet node)
healthzPort: $(port kubelet-health node)
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $TB/pki/ca.crt}}
# Only the API server has a certificate of that authority.
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
containerRuntimeEndpoint: unix://$CONTAINERD_ADDRESS
resolvConf: $resolv
imageGCHighThresholdPercent: 100
# No eviction: a testbed shall not lose a pod to a full disk that is not its own.
evictionHard: {memory.available: "0%"}
maxPods: 250
podLogsDir: $TB/log/pods
# A pod's change is seen at once: probes and rollouts are what is watched here.
syncFrequency: 10s
K
  # The configuration's copy: a change of the script is a change of the node.
  put "$TB/conf/node-init" <"$TESTBED/parts/node-init"
  run node unshare --mount --pid --fork --kill-child=KILL --mount-proc --propagation private \
    bash "$TB/conf/node-init" "$TB" "$KUBELET" "$NODE" "$BRIDGE_IP" "${COVERED[@]}"
}

# A node that was Ready before its kubelet died still says so for a while, and a kubelet that finds nothing changed says
# nothing. What it always does at once is to renew its lease.
ready_node() {
  local since said
  curl -sf -m 2 --noproxy '*' "http://127.0.0.1:$(port kubelet-health node)/healthz" || return
  since=$(cat "$TB/run/node.since")
  since=$(date -u -d "@${since%???}.${since: -3}" +%Y-%m-%dT%H:%M:%S.%3N)
  said=$(kubectl get "node/$NODE" "lease/$NODE" -n kube-node-lease -o 'jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status} {.items[1].spec.renewTime}')
  # Removing a covered directory outside takes the mount away inside, and the kubelet goes on without its runtime.
  [[ $said > "True $since" ]] && node_is_up
}
