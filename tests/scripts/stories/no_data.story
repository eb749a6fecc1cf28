# Prometheus is away: nothing is promoted, nothing is aborted; the first usable measurement leads on.
wait 10s
deploy shop:2
wait 60s
status
verdict error no usable value for 5m0s
wait 60s
status
measure good
wait 120s
status
