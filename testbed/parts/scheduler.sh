# shellcheck shell=bash
start_scheduler() {
  run scheduler "$KUBE_SCHEDULER" --kubeconfig "$TB/admin.kubeconfig" --bind-address 127.0.0.1 --secure-port "$(port scheduler)" --leader-elect=false
}

ready_scheduler() { curl -sfk -m 2 --noproxy '*' "https://127.0.0.1:$(port scheduler)/readyz"; }
