.DEFAULT_GOAL := help
.PHONY: help up down demo test check soak mutants image
# Recipes say what they do by themselves.
.SILENT:

help: ## What can be made
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## The main job on a real node, in four minutes: a bad release is caught at 10 % and reverted in Git
	testbed/demo/run

test: ## All tests, cheapest level first; installs and builds what they need
	tests/run

check: ## Before each commit: formatting, lints, architecture, generated files, licences
	tests/check

soak: ## What takes long: large sweeps, the testbed's own promises, the demo again and again
	tests/soak

mutants: ## Breaks the code in one place at a time, and shows that a test notices each
	tests/mutants/run

up: ## A real node from source: pods, gateway, Prometheus, Git server, Tidegate (LEVEL=control-plane: an API server only)
	testbed/up $(LEVEL)

down: ## Ends what `up` started and leaves nothing
	testbed/down

image: ## An image of this tree for your own cluster, in target/image/tidegate.tar
	testbed/image
