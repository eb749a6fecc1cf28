#! {"spec": {"replicas": 1, "strategy": {"canary": {"trafficRouting": null, "maxSurge": 1, "maxUnavailable": 0}}}}
# One pod, and Services for those who want to look at one side: each weight is one pod beside stable's, and the stable
# Service is never without a pod.
wait 10s
measure good
deploy shop:2
wait 20s
status
wait 60s
wait 60s
status
