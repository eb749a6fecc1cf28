# The cluster has no room for the new version. That is said at once, and after the deadline the Rollout is Degraded; but it
# is not stopped, not held, and goes on by itself when there is room.
measure good
wait 10s
pods never shop:2 unschedulable
deploy shop:2
wait 30s
status
wait 600s
status
pods well
wait 100s
status
