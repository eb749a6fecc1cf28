#! {"spec": {"progressDeadlineSeconds": 60, "strategy": {"canary": {"onFailure": "Pause"}}}}
# The same for pods that crash: Degraded at the deadline, and a person decides.
measure good
wait 10s
pods never shop:2 crash
deploy shop:2
wait 70s
status
