# The gateway does not answer when the abort comes: the canary's pods stay, the reason is told, and it ends when it answers.
measure good
wait 10s
deploy shop:2
wait 20s
gateway silent
verdict failed success-rate: bad
wait 120s
status
gateway 1s
wait 60s
status
