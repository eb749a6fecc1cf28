#! {"spec": {"rollbackWindow": {"revisions": 1}}}
# Going back to what was stable just before skips steps and analysis, not the confirmations. Further back, and for what was
# never promoted, the steps hold.
measure good
wait 10s
deploy shop:2
wait 150s
deploy shop:1
wait 60s
status
deploy shop:3
wait 10s
deploy shop:2
wait 60s
status
deploy shop:4
wait 130s
deploy shop:1
wait 20s
status
