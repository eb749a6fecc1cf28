#! {"spec": {"strategy": {"canary": {"analysis": {"templates": [{"templateName": "success-rate"}], "dryRun": [{"metricName": "latency"}]}}}}}
# A dry run that means no metric is a mistake, and said before anything moves.
wait 10s
deploy shop:2
wait 10s
status
