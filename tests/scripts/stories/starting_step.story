#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "success-rate"}], "startingStep": 2}}}}}
# Background analysis begins at the step it is told to.
measure good
wait 10s
deploy shop:2
wait 40s
status
wait 10s
status
