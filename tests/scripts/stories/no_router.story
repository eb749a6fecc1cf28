#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}
# Without a router the pods are the traffic: 10 % of ten pods is one, and at most 13 are there, at least 8 available.
wait 10s
status
measure good
deploy shop:2
wait 20s
status
wait 60s
status
wait 90s
status
