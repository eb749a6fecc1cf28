# Pods of the new version never become ready: no weight, stable untouched.
measure good
pods never shop:2
wait 10s
deploy shop:2
wait 120s
status
deploy shop:1
wait 60s
status
