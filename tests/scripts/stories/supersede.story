# A newer version replaces a canary in flight: the old one's traffic goes before the new one gets any.
measure good
wait 10s
deploy shop:2
wait 20s
deploy shop:3
wait 20s
status
wait 120s
