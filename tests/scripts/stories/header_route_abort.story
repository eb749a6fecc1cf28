#! {"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}, "managedRoutes": [{"name": "staff"}]}, "steps": [{"setHeaderRoute": {"name": "staff", "match": [{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]}}, {"pause": {}}]}}}}
# Only staff sees the canary, and it is stopped: their rule goes first, the pods stay until the gateway has confirmed that. A newer
# version does the same before it begins, and so does one whose pods are lost.
wait 10s
deploy shop:2
wait 10s
gateway silent
abort
wait 30s
status
gateway 1s
wait 60s
status
deploy shop:3
wait 10s
deploy shop:4
wait 10s
status
pods never shop:4 crash
replicaset shop:4 deleted
wait 10s
status
deploy shop:1
wait 60s
status
