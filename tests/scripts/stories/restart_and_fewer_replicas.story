#! {"spec": {"replicas": 10, "strategy": {"canary": {"stableService": null, "canaryService": null, "trafficRouting": null}}}}
# Fewer replicas in the middle of a restart: first the one, then the other goes on, or both together would take too many pods.
wait 3s
restart pods
replicas 3
wait 20s
status
