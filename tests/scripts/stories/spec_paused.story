# spec.paused, from Git: the weight stays, promote and resume say where it has to be unset.
measure good
spec {"paused": true}
wait 10s
status
spec {"paused": false}
wait 10s
deploy shop:2
wait 10s
spec {"paused": true}
wait 60s
status
promote
promote full
resume
pause
resume
spec {"paused": false}
wait 100s
status
# At rest it keeps the next revision from starting.
spec {"paused": true}
deploy shop:3
wait 30s
status
spec {"paused": false}
wait 100s
status
