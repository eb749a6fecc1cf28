# minReadySeconds is no part of a revision: the ReplicaSet gets it, and no pod restarts.
wait 10s
spec {"minReadySeconds": 20}
wait 5s
status
wait 20s
status
