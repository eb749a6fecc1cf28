#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "availability"}]}}}}}
# Canary and stable are both over budget: the canary is not to blame, stays where it is, and goes on afterwards by itself.
measure good
wait 10s
deploy shop:2
wait 20s
outage begins
wait 60s
status
outage ends
wait 100s
status
