#! {"spec": {"strategy": {"canary": {"canaryMetadata": {"labels": {"role": "canary"}}, "stableMetadata": {"labels": {"role": "stable"}}, "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 50}}}}}}
# Pods carry the labels of their role. Running pods are given them when the role changes, and none restarts.
measure good
wait 10s
roles
deploy shop:2
wait 50s
roles
wait 60s
roles
spec {"strategy": {"canary": {"stableMetadata": null}}}
wait 5s
roles
wait 60s
