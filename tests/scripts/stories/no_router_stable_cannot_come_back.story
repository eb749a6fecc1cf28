#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}
# Stable's pods do not come back (their image is gone). The canary keeps what must not be missed, and says what it waits for.
wait 10s
measure good
deploy shop:2
wait 60s
pods never shop:1
stable pods 3
verdict failed 31 of 412 requests failed
wait 60s
status
