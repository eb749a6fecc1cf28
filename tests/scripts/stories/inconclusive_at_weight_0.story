#! {"spec": {"strategy": {"canary": {"steps": [{"setWeight": 40}, {"setWeight": 0}, {"pause": {"duration": "10s"}}, {"setWeight": 100}]}}}}
# What an earlier weight found stands: the background analysis was inconclusive at 40 %, so the step without a weight waits for a
# person. That there is no data without a weight is no surprise, and stops nothing.
measure good
wait 10s
deploy shop:2
wait 4s
verdict error no value
wait 30s
status
retry
abort
deploy shop:3
measure good
wait 4s
verdict inconclusive neither
wait 30s
status
