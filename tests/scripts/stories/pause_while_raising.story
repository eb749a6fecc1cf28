# Paused while the pods for 50 % come up: they may come, the weight stays at 10 %. Nothing is deleted for it.
measure good
wait 10s
deploy shop:2
wait 34s
pods 20s
wait 1s
pause
wait 60s
status
promote
wait 5s
status
