#! {"spec": {"progressDeadlineSeconds": 60, "progressDeadlineAbort": false}}
# As in Argo Rollouts: Degraded at the deadline, and nothing else. A person decides.
measure good
wait 10s
pods never shop:2 crash
deploy shop:2
wait 70s
status
abort
wait 40s
status
