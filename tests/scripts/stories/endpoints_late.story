# The endpoints of a Service follow its selector late: no weight before the canary's Service routes to its pods, and stable's
# weights do not come back before its own does.
measure good
wait 5s
endpoints 8s
deploy shop:2
wait 30s
promote full
wait 60s
status
