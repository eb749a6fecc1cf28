#! {"spec": {"strategy": {"canary": {"abortScaleDownDelaySeconds": "60s"}}}}
# A retry within the delay takes the pods that are still there. What the first step does not need goes when the delay is over.
measure good
wait 10s
deploy shop:2
wait 50s
abort
wait 10s
retry
wait 10s
status
wait 45s
status
