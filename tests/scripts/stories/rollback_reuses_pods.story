#! {"spec": {"strategy": {"canary": {"scaleDownDelaySeconds": "300s", "scaleDownDelayRevisionLimit": 1, "analysis": null, "steps": [{"setWeight": 25}, {"pause": {"duration": "5s"}}]}}}}
# Back to the version before within its delay: its pods are there, and no new one is started. Of the old revisions only one
# keeps its pods.
wait 10s
deploy shop:2
wait 30s
deploy shop:3
wait 30s
deploy shop:2
wait 20s
status
wait 30s
status
