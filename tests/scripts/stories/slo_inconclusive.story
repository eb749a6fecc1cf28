#! {"spec": {"strategy": {"canary": {"analysis": null, "steps": [{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "availability"}], "atMost": "5m"}}]}}}}
# The evidence does not suffice: the step waits for a person, with what is known. Nothing is rolled back, and a person promotes.
measure good
wait 10s
deploy shop:2
wait 10s
verdict of step 1 inconclusive availability: the evidence does not suffice after 5m
wait 30s
status
promote
wait 60s
status
