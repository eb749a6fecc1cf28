#! {"spec": {"replicas": 2, "strategy": {"canary": {"trafficRouting": null, "maxSurge": 0, "maxUnavailable": 1, "steps": [{"setWeight": 75}, {"pause": {"duration": "30s"}}]}}}}
# Without a surge stable goes first. Argo Rollouts has no canary pod at 75 % of two.
wait 10s
measure good
deploy shop:2
wait 20s
status
wait 60s
status
