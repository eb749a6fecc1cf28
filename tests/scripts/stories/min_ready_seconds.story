#! {"spec": {"minReadySeconds": 10}}
# A pod counts once it has been ready for ten seconds.
measure good
wait 5s
status
wait 20s
deploy shop:2
wait 8s
status
wait 10s
status
