#! {"spec": {"strategy": {"canary": {"maxUnavailable": 2}}}}
# restartAt in 20 s: then two pods at a time are evicted, and the next two when those are back. The controller is gone in
# between, and goes on where it was; once it is done, it is done.
wait 10s
spec {"restartAt": "2026-01-01T00:00:30Z"}
wait 15s
status
wait 6s
status
away 3s
wait 20s
status
restart
wait 30s
status
