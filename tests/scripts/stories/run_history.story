#! {"spec": {"analysis": {"successfulRunHistoryLimit": 0, "unsuccessfulRunHistoryLimit": 1}}}
# Completed runs of earlier attempts: as many bad ones as are asked for, and no good ones.
measure good
wait 10s
deploy shop:2
wait 20s
verdict failed success-rate: bad
wait 40s
measure good
deploy shop:3
wait 20s
verdict failed success-rate: bad
wait 40s
measure good
deploy shop:4
wait 20s
runs
deploy shop:5
wait 20s
runs
