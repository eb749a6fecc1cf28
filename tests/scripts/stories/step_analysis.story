#! {"spec": {"strategy": {"canary": {"analysis": null, "steps": [{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]}}}}
# An analysis as a step: Successful goes on; the next version's Failed aborts.
wait 10s
deploy shop:2
wait 20s
status
verdict successful 5 of 5 good
wait 60s
status
deploy shop:3
wait 20s
verdict failed 2 of 5 bad
wait 10s
status
