# A pause does not switch off what keeps users safe: a verdict acts, a newer revision takes the traffic of the older one.
measure good
wait 10s
deploy shop:2
wait 20s
pause
wait 5s
deploy shop:3
wait 60s
status
resume
wait 20s
pause
verdict failed success-rate: bad
wait 40s
status
resume
retry
pause
abort
resume
wait 10s
