#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}
# The template is stable's again: no steps, no analysis, at once.
wait 10s
measure good
deploy shop:2
wait 60s
deploy shop:1
wait 20s
status
