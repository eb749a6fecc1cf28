# undo: in flight back to stable at once, afterwards to what was promoted before, through the steps; never to what failed.
measure good
wait 10s
undo
deploy shop:2
wait 20s
undo
wait 40s
status
undo
deploy shop:2
wait 120s
status
deploy shop:3
wait 20s
verdict failed success-rate: bad
wait 40s
undo 5
undo
wait 40s
measure good
status
undo
wait 150s
status
undo 9
undo 6
