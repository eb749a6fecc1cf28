#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "success-rate"}], "dryRun": [{"metricName": "success-.*"}]}}}}}
# A metric in dry run neither fails nor holds anything: there is no measurement at all, and it goes on.
wait 10s
deploy shop:2
wait 100s
status
