# A bad version is caught at 10 %: weight 0 first, the canary Service back at stable, pods after their delay, then held.
measure good
wait 10s
deploy shop:2
wait 20s
verdict failed success-rate: 2 of 5 measurements failed
wait 60s
status
# Its content leaves and comes back: held, with the reason.
deploy shop:1
wait 10s
deploy shop:2
wait 20s
status
