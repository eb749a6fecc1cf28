# A Service that is applied again without our key in its selector would route to the pods of every revision: it is pointed
# back at once, at rest and in flight.
measure good
wait 10s
service stable selects none
wait 2s
deploy shop:2
wait 20s
service stable selects none
wait 5s
service canary selects none
wait 5s
status
verdict failed success-rate: bad
wait 2s
service stable selects none
wait 2s
status
