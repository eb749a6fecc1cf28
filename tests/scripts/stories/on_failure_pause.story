#! {"spec": {"strategy": {"canary": {"onFailure": "Pause"}}}}
# onFailure: Pause. A verdict stops the way up where it is, also while a weight is being raised; nothing is held. A person
# passes over it step by step, or aborts.
measure good
wait 10s
deploy shop:2
wait 34s
pods 20s
wait 1s
verdict failed success-rate: bad
wait 60s
status
promote
wait 60s
status
abort
wait 40s
status
