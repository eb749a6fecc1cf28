# A PodDisruptionBudget says no until it allows it again. The Rollout stays Healthy, and says what it waits for.
wait 10s
budget 4
spec {"restartAt": "2026-01-01T00:00:10Z"}
wait 15s
status
budget 3
wait 60s
status
