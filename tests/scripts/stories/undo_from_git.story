#! {"metadata": {"labels": {"tidegate.dev/owned-by": "shop.shop"}, "annotations": {"tidegate.dev/commit": "3f9c2d1e0b7a4c5d8e6f1029384756aabbccddee"}}}
# What comes from Git goes back in Git: the cluster alone would be written again by the next sync.
measure good
wait 10s
deploy shop:2
wait 20s
undo
wait 5s
status
