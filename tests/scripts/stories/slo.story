#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "availability"}]}}}}}
# SLOs: the evidence begins before the first request, and each weight needs a round of its own. It fails at 50 %.
measure good
wait 10s
deploy shop:2
wait 20s
runs
measure nothing
wait 20s
status
measure good
wait 5s
status
verdict failed availability: canary 31 of 412 requests failed
wait 40s
status
runs
