.DEFAULT_GOAL := help
.PHONY: help up down demo

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## A real node from source: pods, gateway, Prometheus, Git server, Tidegate (LEVEL=control-plane: an API server only)
	@testbed/up $(LEVEL)

down: ## Ends what `up` started and leaves nothing
	@testbed/down

demo: ## The main job, told as it happens: a good release goes live, a bad one is caught and reverted in Git
	@testbed/demo/run
