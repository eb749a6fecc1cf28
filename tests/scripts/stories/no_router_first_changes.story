# The first deployment is not complete (no gateway answers) when the router is taken out of the spec and the template changes:
# the pods that the Services route to do not all go before the Services were moved.
gateway silent
wait 5s
spec {"replicas": 5, "strategy": {"canary": {"trafficRouting": null, "maxSurge": 0, "maxUnavailable": 1}}}
deploy shop:2
wait 30s
status
