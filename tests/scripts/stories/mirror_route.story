#! {"spec": {"strategy": {"canary": {"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}], "grpcRoutes": [{"name": "api"}]}, "managedRoutes": [{"name": "shadow"}]}, "steps": [{"setCanaryScale": {"replicas": 2}}, {"setMirrorRoute": {"name": "shadow", "percentage": 30, "match": [{"method": {"exact": "GET"}, "path": {"prefix": "/"}}]}}, {"pause": {"duration": "20s"}}, {"setWeight": 50}, {"pause": {"duration": "10s"}}, {"setMirrorRoute": {"name": "shadow"}}, {"pause": {"duration": "10s"}}]}}}}
# Copies of reads first, which nobody sees the answers of; then half of the traffic, then no copies. In the first release all of it; in
# the second a person stops it while copies are sent, and nothing is left of the rule.
measure good
wait 10s
deploy shop:2
wait 15s
status
wait 70s
status
deploy shop:3
wait 15s
abort
wait 60s
status
