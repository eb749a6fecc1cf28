#! {"spec": {"strategy": {"canary": {"maxUnavailable": 2}}}}
# A person asks for a restart: two pods at a time. Asked again while it goes on, the pods that came up before are old too. The
# controller dies after the answer and before the first eviction, and still does it once.
wait 10s
crash after effect 8
restart pods
status
wait 3s
restart pods
wait 30s
status
restart
wait 30s
status
# One that is to come is named instead of brought forward.
spec {"restartAt": "2026-01-01T02:00:00Z"}
restart pods
status
