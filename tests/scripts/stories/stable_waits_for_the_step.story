#! {"spec": {"strategy": {"canary": {"dynamicStableScale": true, "steps": [{"setWeight": 40}, {"pause": {}}, {"setWeight": 0}, {"pause": {}}]}}}}
# Fewer replicas are asked for, and stable could give one up at 40 %; but in the same pass a person passes to a step that takes
# the traffic back: then it gives none up.
measure good
replicas 4
wait 5s
deploy shop:2
wait 10s
away 3s
replicas 3
promote
wait 10s
status
