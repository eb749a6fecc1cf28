# Only stable's pods are evicted while a canary is under way; the canary's are restarted once they are stable.
measure good
wait 10s
deploy shop:2
wait 20s
spec {"restartAt": "2026-01-01T00:00:31Z"}
wait 15s
status
wait 120s
status
