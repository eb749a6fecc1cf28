#! {"spec": {"strategy": {"canary": {"steps": [{"setWeight": 50}, {"setWeight": 100}, {"pause": {"duration": "10m"}}]}}}}
# A bake: all traffic on the canary, with analysis, while stable still has all its pods. A fault that shows only then still
# goes back at once.
measure good
wait 10s
deploy shop:2
wait 100s
status
verdict failed success-rate: bad
wait 5s
status
