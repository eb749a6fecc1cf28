#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "availability"}, {"templateName": "success-rate"}], "startingStep": 2}}}}}
# Both kinds of metric in the background, from the third step on: two runs, and each weight from then on needs both.
measure good
wait 10s
deploy shop:2
wait 30s
runs
wait 20s
runs
wait 60s
status
