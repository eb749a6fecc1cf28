# shellcheck shell=bash
start_kube-proxy() {
  # masquerade-all: the answer of a pod on the same bridge passes through the machine also where br_netfilter is missing.
  # conntrack 0: leave the machine's own limits alone.
  run kube-proxy "$KUBE_PROXY" --kubeconfig "$TB/admin.kubeconfig" --proxy-mode nftables --hostname-override "$NODE" --masquerade-all \
    --healthz-bind-address "127.0.0.1:$(port kube-proxy)" --metrics-bind-address "127.0.0.1:$(port kube-proxy-metrics kube-proxy)" \
    --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
}

ready_kube-proxy() { curl -sf -m 2 --noproxy '*' "http://127.0.0.1:$(port kube-proxy)/livez" && nft list table ip kube-proxy; }
