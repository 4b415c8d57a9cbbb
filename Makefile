.PHONY: help demo test test-fast check setup release

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

demo: ## Install Clawback into .venv and run the demo (half a minute)
	@scripts/bootstrap
	@.venv/bin/clawback demo

test: ## Run the tests (tens of minutes)
	@scripts/test

test-fast: ## Run the tests that start no process and no server (a minute)
	@scripts/test fast

check: ## Check locks, format, lint, types, imports and the plugin's package
	@scripts/check
	@scripts/check-package

setup: ## Install what some tests need beyond .venv (the real OpenClaw), into .cache/
	@scripts/setup

release: ## Make all files of a release, in dist/: the same bytes for the same commit
	@scripts/release
