#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}
# It fails at 50 %: stable's pods come back first, and the canary's go as they take their place. Nothing waits for anything
# that waits for it. A retry begins again with one pod.
wait 10s
measure good
deploy shop:2
wait 60s
pods 5s
verdict failed 31 of 412 requests failed
status
wait 30s
status
measure good
retry
wait 15s
status
