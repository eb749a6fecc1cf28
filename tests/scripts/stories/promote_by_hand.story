#! {"spec": {"strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]}}}}
# Indefinite pauses wait for a person; `promote` passes one, `promote full` the rest.
measure good
wait 10s
deploy shop:2
wait 60s
status
promote
wait 20s
status
promote full
wait 60s
status
