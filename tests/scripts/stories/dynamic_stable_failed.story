#! {"spec": {"replicas": 10, "strategy": {"canary": {"dynamicStableScale": true, "abortScaleDownDelaySeconds": "10s", "steps": [{"setWeight": 80}, {"pause": {}}]}}}}
# It fails with most of the traffic while stable has two pods left: the weight falls as stable's pods come up, and the canary
# keeps what stable cannot carry.
measure good
wait 10s
deploy shop:2
wait 30s
status
pods 6s
verdict failed 31 of 412 requests failed
status
wait 5s
status
wait 30s
status
