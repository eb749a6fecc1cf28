#! {"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}, "managedRoutes": [{"name": "staff"}]}, "steps": [{"setWeight": 10}, {"setHeaderRoute": {"name": "staff", "match": [{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]}}, {"pause": {}}]}}}}
# The route is made anew without the rule, in the middle of it: the rule comes again, and only once its gates are open. While a
# person has paused, nothing is added.
measure good
wait 10s
deploy shop:2
wait 10s
route deleted
wait 5s
status
route created
wait 10s
status
pause
route deleted
route created
wait 5s
status
resume
wait 10s
status
promote
wait 60s
status
