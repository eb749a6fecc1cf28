# A person aborts, and later retries: a new attempt from the first step.
measure good
wait 10s
deploy shop:2
wait 20s
abort
wait 40s
status
retry
wait 120s
status
retry
abort
promote
