#! {"spec": {"strategy": {"canary": {"steps": [{"setCanaryScale": {"replicas": 1}}, {"pause": {"duration": "10s"}}, {"setWeight": 25}, {"setCanaryScale": {"weight": 75}}, {"pause": {"duration": "10s"}}, {"setWeight": 50}, {"setCanaryScale": {"matchTrafficWeight": true}}, {"pause": {"duration": "10s"}}, {"setCanaryScale": {"replicas": 1}}, {"pause": {"duration": "10s"}}]}}}}
# Pods apart from the weight: one to look at without traffic, then more than the weight needs, then as many as it needs. The
# last scale asks for fewer than half of the traffic needs: it gets what the traffic needs.
measure good
wait 10s
deploy shop:2
wait 13s
status
wait 16s
wait 10s
status
wait 12s
status
wait 60s
status
