#! {"spec": {"replicas": 10, "strategy": {"canary": {"dynamicStableScale": true, "minPodsPerReplicaSet": 2, "steps": [{"setWeight": 10}, {"pause": {"duration": "20s"}}, {"setWeight": 50}, {"pause": {"duration": "20s"}}, {"setWeight": 30}, {"pause": {"duration": "20s"}}, {"setWeight": 100}, {"pause": {"duration": "20s"}}]}}}}
# Stable gives pods up as confirmed traffic goes, gets them back before traffic comes back, and keeps two until the end.
measure good
wait 10s
deploy shop:2
wait 18s
status
wait 25s
status
wait 27s
status
wait 30s
status
wait 90s
status
