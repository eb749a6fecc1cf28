# Somebody edits weights by hand, up and down, during a pause: corrected, never taken for progress.
measure good
wait 10s
deploy shop:2
wait 20s
weight 80
wait 3s
weight 0
wait 3s
status
