#! {"spec": {"strategy": {"canary": {"trafficRouting": null, "scaleDownDelaySeconds": null, "stableService": null, "canaryService": null}}}}
# A Rollout without a router gets one. Its Services select nothing of it yet; then the next canary goes by weights.
measure good
wait 10s
spec {"strategy": {"canary": {"stableService": "web-stable", "canaryService": "web-canary", "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}}}}}
wait 5s
status
service stable created
service canary created
route created
wait 5s
status
deploy shop:2
wait 20s
status
