# Needs Python 3.11 or newer and make; everything else comes as wheels.

# The first that is new enough; make PYTHON=... names another.
SUITS := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3 python; do \
    $$each -c '$(SUITS)' 2>/dev/null && command -v $$each && break; done)
BIN := .venv/bin
ARGS ?=

.PHONY: setup demo test check bench
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo 'make demo    set up, start the stack, show a real learner (ARGS="--port 8081")'
	@echo 'make test    set up, run the whole test suite (ARGS="-k ..." goes to pytest)'
	@echo 'make check   set up, lint, types, layers'
	@echo 'make bench   set up, run the benchmarks'
	@echo 'make setup   the environment in .venv, nothing else'
	@echo 'make checkov checkov in .venv-checkov, with which the plans are looked at'

setup: .venv/.project

demo: setup
	@$(BIN)/progress demo $(ARGS)

test: setup
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 $(ARGS)

check: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	@$(BIN)/python -m bench $(ARGS)

# The packages that the lock names, each checked against its hash.
.venv/.packages: requirements-dev.txt
	@test -n '$(PYTHON)' && '$(PYTHON)' -c '$(SUITS)' || { \
	    echo 'No Python 3.11 or newer was found: install one, or name it with make PYTHON=...' >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || '$(PYTHON)' -m venv --clear .venv || { \
	    echo 'No environment could be made in .venv; on Debian: apt install python3-venv.' >&2; exit 1; }
	@echo 'Installing packages into .venv; the first time takes a minute or two.'
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet \
	    --require-hashes -r requirements-dev.txt
	@touch $@

# The project itself, in place.
.venv/.project: .venv/.packages pyproject.toml
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet \
	    --no-deps --no-build-isolation -e .
	@touch $@

# checkov has an environment of its own: it pins what we pin otherwise.
.PHONY: checkov
checkov: .venv-checkov/.packages

.venv-checkov/.packages: infra/checkov/requirements.txt
	@'$(PYTHON)' -m venv --clear .venv-checkov
	@.venv-checkov/bin/python -m pip install --disable-pip-version-check --quiet \
	    --require-hashes -r $<
	@touch $@
