# An inconclusive analysis waits for a person.
measure good
wait 10s
deploy shop:2
wait 20s
verdict inconclusive 0.985 meets neither condition
wait 60s
status
abort
wait 10s
