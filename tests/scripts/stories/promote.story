# A good version goes through its steps and becomes stable; the old pods go after their delay.
measure good
wait 10s
deploy shop:2
wait 100s
status
wait 40s
