# The template goes back to stable's while a canary is in flight: at once, no steps, no analysis.
measure good
wait 10s
deploy shop:2
wait 20s
deploy shop:1
wait 40s
status
