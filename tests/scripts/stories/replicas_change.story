# Replicas change in flight: scaled, no restart; abort still works with the new number.
measure good
wait 10s
deploy shop:2
wait 20s
replicas 10
wait 10s
status
replicas 2
wait 10s
status
verdict failed bad
wait 60s
status
