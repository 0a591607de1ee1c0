# Plimsoll: every target works on a fresh machine with Python 3.11+ and make, as root or not.
# Settable: PYTHON, PORT, SPEED, SCENARIO, START, DATA_DIR, RESET, PYTEST (arguments), WORKERS.

PYTHON ?= python3
WORKERS ?= 2
BENCH ?= mark tick load ledger cycle alert
VENV := .venv/bin
MANAGE := $(VENV)/python manage.py

.DEFAULT_GOAL := help
.PHONY: help base dev run test lint bench prove smoke screenshots lock audit

help: ## Say what each target does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

base:
	@$(PYTHON) -m deploy.bootstrap base

dev:
	@$(PYTHON) -m deploy.bootstrap dev

run: base ## Start the platform, or resume it: RESET=1 SCENARIO= SPEED= PORT= DATA_DIR= START=
	@exec $(MANAGE) run

smoke: base ## Start it in a scratch folder, watch every door until a call, cure, liquidation and P&L line show
	@exec $(MANAGE) smoke

test: dev ## Run every test
	$(VENV)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST)

lint: dev ## Style, types, security, import contracts, migrations, deployment settings
	@$(VENV)/python -m deploy.lint

bench: base ## Run the benchmarks: BENCH="mark tick load ledger cycle alert"
	@for name in $(BENCH); do $(MANAGE) bench $$name || exit 1; done

prove: base ## The long proofs: whole replays judged, with recordings when they are there, and twenty killed processes
	@$(MANAGE) prove

screenshots: dev ## Take a picture of every page during the crash (needs Chromium); README=1: the README's alone
	@$(VENV)/python -m tests.browser.screenshots $(if $(README),--readme)

lock: dev ## Resolve requirements/*.in anew (needs uv)
	@for name in base dev node; do uv pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --quiet --custom-compile-command "make lock" \
	  requirements/$$name.in -o requirements/$$name.txt; done

audit: dev ## Known weaknesses in what is pinned (asks a database on the internet)
	uvx pip-audit --require-hashes -r requirements/base.txt
