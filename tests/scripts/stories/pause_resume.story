# A person pauses in the middle of a timed pause. The weight stays, however long it takes; what others change in the route is
# put right; a size that grows is followed. After resume the step's pause is neither lost nor begun again.
measure good
wait 10s
deploy shop:2
wait 10s
pause
wait 5s
status
weight 70
wait 5s
replicas 20
wait 5s
pause
wait 10s
status
resume
wait 2s
status
wait 100s
status
resume
pause
