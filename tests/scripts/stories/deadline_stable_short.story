# The new version is not ready, but stable lost pods, too: the cluster may be ill. The canary is stopped only when stable was
# ready for the whole deadline.
measure good
wait 10s
pods never shop:2 crash
deploy shop:2
wait 300s
pods 200s
stable pods 1
wait 350s
status
wait 440s
status
wait 20s
status
