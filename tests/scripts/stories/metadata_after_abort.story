#! {"spec": {"strategy": {"canary": {"canaryMetadata": {"labels": {"role": "canary"}}, "abortScaleDownDelaySeconds": "20s"}}}}
# An aborted canary's pods keep the label while they are there. The template of before comes back with pods of its own labels.
measure good
wait 10s
deploy shop:2
wait 50s
abort
wait 5s
roles
wait 30s
deploy shop:1
wait 10s
roles
