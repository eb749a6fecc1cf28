# shellcheck shell=bash
start_controller-manager() {
  # nodeipam: the bridge's own address management serves the one node. The cloud's controllers have no cloud.
  run controller-manager "$KUBE_CONTROLLER_MANAGER" --kubeconfig "$TB/admin.kubeconfig" --bind-address 127.0.0.1 --secure-port "$(port controller-manager)" --leader-elect=false \
    --root-ca-file "$TB/pki/ca.crt" --service-account-private-key-file "$TB/pki/service-accounts.key" --use-service-account-credentials \
    --controllers='*,-nodeipam,-cloud-node-lifecycle'
}

ready_controller-manager() { curl -sfk -m 2 --noproxy '*' "https://127.0.0.1:$(port controller-manager)/healthz"; }
