#! {"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}, "managedRoutes": [{"name": "staff"}]}, "steps": [{"setHeaderRoute": {"name": "staff", "match": [{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]}}, {"pause": {"duration": "5s"}}, {"setHeaderRoute": {"name": "staff"}}, {"pause": {}}]}}}}
# The rule goes while the weight is 0: the only pod that answered it goes after the gateway has confirmed that, and not before.
measure good
wait 10s
deploy shop:2
wait 10s
gateway 5s
wait 20s
status
