# Everything is set up below this folder: .venv (the project), .uv (uv, where the machine has none), .cache (where HOME is of no use).
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Each process that a test starts would compile the whole service again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
TRADES ?=
ACCOUNTS ?=
UPGRADE ?=
SEED ?=

BIN := .venv/bin
STAMP := .venv/.installed
# An installation belongs to one place and one Python: a moved or copied project, or another PYTHON, is installed anew.
IDENTITY = $(CURDIR) with $(PYTHON)
FRESH := $(shell test -x $(BIN)/python && $(BIN)/python -c '' 2>/dev/null && test "$$(cat $(STAMP) 2>/dev/null)" = "$(IDENTITY)" && echo yes)

# Sourced by each recipe that calls uv or pip.
# HOME may be missing, empty or read-only: caches then go into the project.
define SETUP
set -eu; \
cache="$${XDG_CACHE_HOME:-$${HOME:+$$HOME/.cache}}"; \
if [ -z "$$cache" ] || ! mkdir -p "$$cache/uv" "$$cache/pip" 2>/dev/null || [ ! -w "$$cache/uv" ] || [ ! -w "$$cache/pip" ]; then cache="$$PWD/.cache"; fi; \
export UV_CACHE_DIR="$${UV_CACHE_DIR:-$$cache/uv}" PIP_CACHE_DIR="$${PIP_CACHE_DIR:-$$cache/pip}"; \
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore; \
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH || :; \
say() { printf '%s\n' "$$*" >&2; }; \
python="$$(command -v "$(PYTHON)" || :)"; \
if [ -z "$$python" ]; then say "trade-recon needs Python 3.11 or newer, and there is no $(PYTHON) here. Name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; fi; \
if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
say "trade-recon needs Python 3.11 or newer, and $(PYTHON) is $$("$$python" -V 2>&1). Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; fi; \
python="$$("$$python" -c 'import sys; print(sys.executable)')"; \
find_uv() { \
	for uv in uv "$$PWD/.uv/bin/uv"; do if "$$uv" --version >/dev/null 2>&1; then return; fi; done; \
	say "Setting up uv in .uv ..."; \
	rm -rf .uv; \
	if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		"$$python" -m venv .uv; \
		.uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt; \
	elif "$$python" -m pip --version >/dev/null 2>&1; then \
		"$$python" -m pip install --quiet --require-hashes --target .uv -r requirements/uv.txt; \
	else \
		say "uv cannot be set up: $$python has neither ensurepip nor pip. Install uv, or the package python3-venv or python3-pip."; exit 1; \
	fi; \
	uv="$$PWD/.uv/bin/uv"; \
	if ! "$$uv" --version >/dev/null; then say "uv was installed into .uv and does not run on this machine."; exit 1; fi; \
}
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: install ## damage a warehouse, heal it and prove it equal to upstream (TRADES=file.csv: with real trades)
	@$(BIN)/trade-recon demo $(if $(TRADES),--trades "$(TRADES)")

.PHONY: test
test: lint ## run all checks and tests: what CI runs
	@$(BIN)/pytest -n 4

.PHONY: test-unit
test-unit: install ## run the tests that need no database, in under a minute
	@$(BIN)/pytest -q tests/unit

DATE ?=
TESTS ?=

.PHONY: test-dates
test-dates: install ## run the tests on days that are special, and on a drawn one (DATE=2028-02-29 or DATE=random: on one; TESTS=paths)
	@$(BIN)/python -m tests.support.dates $(if $(DATE),--date "$(DATE)") -n 4 $(TESTS)

.PHONY: test-faults
test-faults: install ## play the fault matrix: every step of a run meets every fault (SEED=... as printed: the same again)
	@RECON_FAULT_SEED="$(SEED)" $(BIN)/pytest -q -m faults -n 4 tests/faults

.PHONY: test-chaos
test-chaos: install ## kill, stop and cut off replicas while upstream fails and rows are damaged, and draw faults of the surroundings
	@$(BIN)/pytest -q -m chaos -n 4

.PHONY: bench
bench: install ## measure everything on a warehouse of ACCOUNTS (20000) and on one a tenth as large, kept in .bench (FILLED=100: fewer filled columns, half the disk; PARTS="nights": that alone)
	@$(SETUP); find_uv; "$$uv" pip install --quiet --python $(BIN)/python 'pgqueuer>=1.6,<2' || say "pgqueuer cannot be had: claims are not compared."
	@$(BIN)/python -m bench $(if $(ACCOUNTS),--accounts "$(ACCOUNTS)") $(if $(FILLED),--filled "$(FILLED)") $(if $(PARTS),--only $(PARTS))

.PHONY: lint
lint: install ## check style, types and layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: serve
serve: install ## start the service on http://127.0.0.1:8000
	@$(BIN)/trade-recon serve

.PHONY: fmt
fmt: install ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

.PHONY: openapi
openapi: install ## write openapi.yaml from what the app serves
	@$(BIN)/python -m app.web.openapi > openapi.yaml

.PHONY: sql
sql: install ## write db/rendered: each statement as a fresh install runs it
	@$(BIN)/python -m tools.rendered

.PHONY: docs
docs: install ## write docs/reference from settings, commands, HTTP, metrics and issue codes
	@$(BIN)/python -m tools.reference

.PHONY: schema
schema: install ## write db/schema.sql: what the migrations make of an empty database
	@$(BIN)/python -m tools.schema

.PHONY: install
install: $(STAMP) ## set up .venv with the command .venv/bin/trade-recon

$(STAMP): pyproject.toml requirements/dev.txt requirements/uv.txt $(if $(FRESH),,FORCE)
	@$(SETUP); \
	find_uv; \
	say "Setting up .venv with $$("$$python" -V) ..."; \
	rm -rf .venv; \
	"$$uv" venv --quiet --python "$$python" .venv; \
	"$$uv" pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt; \
	"$$uv" pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --no-index --editable .; \
	printf '%s\n' "$(IDENTITY)" > $(STAMP)

# The flags keep index addresses and machine paths out of the files.
COMPILE = "$$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" $(UPGRADE)

.PHONY: lock
lock: ## pin the dependencies anew (UPGRADE=--upgrade: to the newest versions)
	@$(SETUP); \
	find_uv; \
	$(COMPILE) pyproject.toml --extra embedded --group dev --output-file requirements/dev.txt; \
	$(COMPILE) pyproject.toml --constraints requirements/dev.txt --output-file requirements/runtime.txt; \
	$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/build.txt; \
	$(COMPILE) requirements/uv.in --output-file requirements/uv.txt

.PHONY: clean
clean: ## remove what make set up and what the tools left, but not the database in .trade-recon
	@rm -rf .venv .uv .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	@find app tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: FORCE
FORCE:
