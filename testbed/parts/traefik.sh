# shellcheck shell=bash
# The gateway's data plane. It follows routes and endpoints through the API server and runs beside the node.
GATEWAY=testbed-gateway/gateway

start_traefik() {
  local f manifest=$TB/conf/traefik.yaml
  tool_home traefik
  { for f in "$HOME_OF"/gateway-api/*.yaml; do echo ---; cat "$f"; done; gateway_manifest; } | put "$manifest"
  # Before Traefik starts, as it does not wait for kinds that are missing.
  if ! pid_of traefik >/dev/null || ! cmp -s "$manifest" "$TB/applied/traefik.yaml"; then apply_gateway "$manifest"; fi
  # Only its Gateway API provider; 200 ms instead of 2 s until it follows a changed weight.
  run traefik env KUBECONFIG="$TB/admin.kubeconfig" "$TRAEFIK" --entrypoints.web.address="127.0.0.1:$(port gateway traefik)" \
    --entrypoints.metrics.address="127.0.0.1:$(port traefik-metrics traefik)" --metrics.prometheus=true --metrics.prometheus.entrypoint=metrics \
    --metrics.prometheus.addserviceslabels=true --ping=true --ping.entrypoint=metrics --providers.kubernetesgateway=true --providers.kubernetesgateway.statusaddress.ip=127.0.0.1 \
    --providers.kubernetesgateway.throttleduration=200ms --global.checknewversion=false --global.sendanonymoususage=false
}

gateway_manifest() {
  cat <<K
---
apiVersion: v1
kind: Namespace
metadata: {name: ${GATEWAY%/*}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: traefik}
spec: {controllerName: traefik.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ${GATEWAY#*/}, namespace: ${GATEWAY%/*}}
spec:
  gatewayClassName: traefik
  listeners:
    # Traefik wants the listener's port to be its entry point's.
    - {name: http, protocol: HTTP, port: $(port gateway traefik), allowedRoutes: {namespaces: {from: All}}}
K
}

apply_gateway() {
  local try
  for try in 1 2 3 4 5 6; do
    # The first try may be too early for a Gateway: its kind was created in the same breath.
    if kubectl apply --server-side --force-conflicts -f "$1" >"$TB/log/apply-gateway.log" 2>&1; then
      mkdir -p "$TB/applied"
      cp "$1" "$TB/applied/traefik.yaml"
      return
    fi
    sleep 0.5
  done
  cat "$TB/log/apply-gateway.log" >&2
  fail "cannot apply the Gateway API's kinds and the gateway"
}

gateway_programmed() {
  [ "$(kubectl get gateway "${GATEWAY#*/}" -n "${GATEWAY%/*}" -o 'jsonpath={.status.conditions[?(@.type=="Programmed")].status}' 2>/dev/null)" = True ]
}

ready_traefik() { curl -sf -m 2 --noproxy '*' "http://127.0.0.1:$(port traefik-metrics traefik)/ping" && gateway_programmed; }
