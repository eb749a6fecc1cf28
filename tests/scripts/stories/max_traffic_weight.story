#! {"spec": {"replicas": 40, "strategy": {"canary": {"trafficRouting": {"maxTrafficWeight": 1000}, "steps": [{"setWeight": 5}, {"pause": {"duration": "30s"}}, {"setCanaryScale": {"weight": 100}}, {"setWeight": 26}, {"pause": {}}]}}}}
# Weights in thousandths: half a percent needs one pod of forty, 2.6 % two of them; setCanaryScale counts in the same unit.
wait 5s
deploy shop:2
wait 20s
measure good
wait 40s
status
# Somebody else's weight in the same unit is corrected.
weight 500
wait 5s
# Without it the same route is read in percent; the steps are new, and so they start again.
spec {"strategy": {"canary": {"trafficRouting": {"maxTrafficWeight": null}, "steps": [{"setWeight": 3}, {"pause": {}}]}}}
wait 20s
status
verdict failed 31 of 412 requests failed
wait 60s
status
