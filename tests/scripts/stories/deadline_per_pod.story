#! {"spec": {"strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {"duration": "15m"}}, {"setWeight": 50}, {"pause": {"duration": "1s"}}]}}}}
# Pods that take 400 s each: every one that gets ready begins the deadline of 600 s anew, and pauses do not count at all.
measure good
wait 10s
pods 400s
deploy shop:2
wait 1300s
status
wait 410s
status
wait 830s
status
