#! {"spec": {"strategy": {"canary": {"analysis": null, "steps": [{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "availability"}], "atMost": "5m"}}, {"setWeight": 60}, {"analysis": {"templates": [{"templateName": "availability"}], "atMost": "5m", "onInconclusive": "Continue"}}]}}}}
# SLOs as steps: the evidence begins before the first request, in a run of its own. The first step is passed when the canary is good
# beyond doubt, the second one also when the evidence does not suffice.
measure good
wait 10s
deploy shop:2
wait 10s
runs
status
verdict of step 1 successful good beyond doubt
wait 10s
runs
verdict of step 3 inconclusive availability: the evidence does not suffice after 5m
wait 60s
status
runs
