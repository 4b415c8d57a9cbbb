.PHONY: help demo test check setup release

help: ## Say what there is to make
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile

demo: ## Play the main job from end to end on this machine
	@scripts/bootstrap
	@.venv/bin/clawback demo

test: ## Run the tests
	@scripts/test

check: ## Check locks, format, lint, types, imports and the plugin's package
	@scripts/check
	@scripts/check-package

setup: ## Install what some tests need beyond .venv (the real OpenClaw), into .cache/
	@scripts/setup

release: ## Make all that a release publishes, in dist/: the same bytes for the same commit
	@scripts/release
