# Somebody else's tool keeps writing the route as it is in a file. Each time it is put right; at the third it is said who it is,
# and that is taken back when it has been quiet for ten minutes.
measure good
wait 10s
deploy shop:2
wait 20s
weight 0
wait 5s
weight 0
wait 5s
status
weight 90
wait 3s
status
promote full
wait 60s
status
wait 10m
status
