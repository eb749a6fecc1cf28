#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}
# Pods of the new revision never get ready: no more of stable's go than may be unavailable.
wait 10s
pods never shop:2
deploy shop:2
wait 60s
status
abort
wait 10s
status
