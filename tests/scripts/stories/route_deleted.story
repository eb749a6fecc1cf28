# The route disappears in mid-step: said, nothing scaled down.
measure good
wait 10s
deploy shop:2
wait 20s
route deleted
wait 60s
status
