# The new version crashes. It gets no traffic, and at the progress deadline it is stopped and held; stable is untouched.
measure good
wait 10s
pods never shop:2 crash
deploy shop:2
wait 595s
status
wait 10s
status
wait 60s
status
# Other content is free to start.
deploy shop:3
wait 100s
status
