#! {"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "staff"}]}, "steps": [{"setHeaderRoute": {"name": "staff", "match": [{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]}}, {"pause": {"duration": "20s"}}, {"setWeight": 50}, {"pause": {"duration": "10s"}}, {"setHeaderRoute": {"name": "staff"}}, {"pause": {"duration": "10s"}}]}}}}
# Staff first: the canary has one pod and no weight, and answers those with the header, by HTTP and by gRPC. Then half of the traffic,
# then without the header. Nothing of the rule is left at the end.
measure good
wait 10s
deploy shop:2
wait 10s
status
wait 60s
status
