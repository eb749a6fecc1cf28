# Stable lost pods when the abort comes: the canary keeps only what stable cannot carry, and follows it up.
#! 
measure good
wait 10s
deploy shop:2
wait 60s
status
pods 20s
stable pods 1
verdict failed success-rate: bad
wait 5s
status
wait 60s
status
