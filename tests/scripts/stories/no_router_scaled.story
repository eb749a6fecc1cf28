#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}
# The number of replicas changes in flight, up and down: the ratio stays, and the steps go on where they are.
wait 10s
measure good
deploy shop:2
wait 60s
status
replicas 20
wait 10s
status
replicas 4
wait 10s
status
wait 90s
status
