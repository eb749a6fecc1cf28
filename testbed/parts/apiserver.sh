# shellcheck shell=bash
start_apiserver() {
  authority
  service_account_key
  certificate apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$BRIDGE_IP"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client DNS:kubelet-client
  put "$TB/pki/tokens.csv" <<T
$(secret admin-token),admin,admin,system:masters
$(secret node-token),system:node:$NODE,$NODE,system:nodes
T
  kubeconfig "$TB/admin.kubeconfig" admin
  # The configuration's copy: `run` looks at it to see changes.
  put "$TB/conf/apiserver-audit.yaml" <"$TESTBED/parts/audit-policy.yaml"
  # Bound to every address, as pods come by the bridge; authenticated by random tokens and certificates.
  # The advertised address is the bridge's at both levels, so that the node level needs no restart of this part.
  run apiserver "$KUBE_APISERVER" --etcd-servers "http://127.0.0.1:$(port etcd)" --bind-address 0.0.0.0 --secure-port "$(port apiserver)" --advertise-address "$BRIDGE_IP" \
    --tls-cert-file "$TB/pki/apiserver.crt" --tls-private-key-file "$TB/pki/apiserver.key" --client-ca-file "$TB/pki/ca.crt" \
    --kubelet-client-certificate "$TB/pki/kubelet-client.crt" --kubelet-client-key "$TB/pki/kubelet-client.key" --kubelet-preferred-address-types InternalIP \
    --service-cluster-ip-range 10.96.0.0/16 --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$TB/pki/service-accounts.key" --service-account-signing-key-file "$TB/pki/service-accounts.key" \
    --token-auth-file "$TB/pki/tokens.csv" --authorization-mode Node,RBAC --allow-privileged \
    --audit-policy-file "$TB/conf/apiserver-audit.yaml" --audit-log-path "$TB/log/audit.log" --audit-log-maxsize 1000
}

ready_apiserver() { curl -sf -m 5 --noproxy '*' --cacert "$TB/pki/ca.crt" -H "Authorization: Bearer $(secret admin-token)" "https://127.0.0.1:$(port apiserver)/readyz"; }
