# Steps that change in flight start again at the first, as a new attempt, with runs of its own; the weight goes down to what
# the new first step permits.
measure good
wait 10s
deploy shop:2
wait 60s
status
spec {"strategy": {"canary": {"steps": [{"setWeight": 5}, {"pause": {"duration": "20s"}}, {"setWeight": 80}]}}}
wait 10s
status
wait 60s
status
