# Somebody takes the revision out of the stable Service's selector while a canary is under way: it would route to the canary's
# pods, too, whatever the weights say. It is put back.
measure good
wait 10s
deploy shop:2
wait 15s
service stable selects none
wait 2s
service stable selects shop:2
wait 2s
status
