#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}
# A newer revision at 50 % of the one before: that one goes first, stable comes back, and the new one begins at 10 %.
wait 10s
measure good
deploy shop:2
wait 60s
status
deploy shop:3
wait 5s
status
wait 60s
status
