# Requires make and Python 3.11 or newer. Every other dependency is installed as a wheel.

# Use the first Python that is new enough. To use another one, run make PYTHON=...
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
    $$python -c '$(IS_NEW_ENOUGH)' 2>/dev/null && command -v $$python && break; done)
BIN := .venv/bin
ARGS ?=
TESTS ?= not exhaustive and not gate
# The number of examples of each property: quick 4, full 25 (tests/conftest.py).
PROFILE ?= quick

# Let Python cache bytecode. Otherwise, each process would compile the code again, and take twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-gate test-all check bench
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo 'make demo    set up, start the stack, show a real learner (ARGS="--port 8081")'
	@echo 'make test    set up, run the tests (ARGS="-k ..." goes to pytest)'
	@echo 'make test-gate  run these and the rest of the gate: whole systems, faults, infrastructure, pages'
	@echo 'make test-all  run all tests, also the exhaustive ones: mutants, whole runbooks, PostgreSQL 15'
	@echo 'make check   set up, lint, types, layers, lines'
	@echo 'make bench   set up, run the benchmarks'
	@echo 'make setup   create the environment in .venv, nothing else'
	@echo 'make beam    set up, install Apache Beam in .venv-beam, run its tests'
	@echo 'make client  install the compiler of the package in clients/javascript, which the gate tests on Node'
	@echo 'make clients install it, and the third-party clients that some exhaustive tests run on Node'
	@echo 'make checkov install checkov in .venv-checkov, to check the Terraform files'

setup: .venv/.project

demo: .venv/.demo
	@$(BIN)/progress demo $(ARGS)

test: setup
	@HYPOTHESIS_PROFILE=$(PROFILE) $(BIN)/python -m pytest -n 4 -m '$(TESTS)' $(ARGS)

# The tests of the gate in one run, as .ci/run runs them. Two runs would start each shared resource twice, and a core
# would wait at the end of each.
test-gate:
	@$(MAKE) --no-print-directory test TESTS='not exhaustive'

# checks.yaml runs this target on each pull request.
test-all: setup
	@HYPOTHESIS_PROFILE=full $(BIN)/python -m pytest -n 4 $(ARGS)

check: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/count_lines.py
	$(BIN)/python .ci/check_subqueries.py

bench: setup
	@$(BIN)/python -m bench $(ARGS)

# Install the locked packages, and this repository as an editable package.
.venv/.project: requirements-dev.txt pyproject.toml
	@.ci/install '$(PYTHON)' .venv -r requirements-dev.txt
	@touch $@ .venv/.demo

# Install only what the demo needs.
.venv/.demo: requirements.txt requirements-dev.txt pyproject.toml
	@.ci/install '$(PYTHON)' .venv -r requirements.txt -r .venv/local.txt
	@touch $@

# Compile the tests once. Otherwise, each of the four processes of make test would compile them.
.PHONY: collect
collect: setup
	@output=$$($(BIN)/python -m pytest --collect-only -qq 2>&1) || { echo "$$output"; exit 1; }

# Install what builds and checks the package learner-progress.
.PHONY: client
client:
	npm ci --prefix clients/javascript --ignore-scripts --no-audit --no-fund --no-progress

# Install the third-party clients, which run on Node.
.PHONY: clients
clients: client
	npm ci --prefix tests/clients --ignore-scripts --no-progress

# Download the third-party files of GraphiQL. After that, update THIRD_PARTY.md by hand.
GRAPHIQL := progress/query/graphiql
.PHONY: graphiql
graphiql:
	folder=$$(mktemp -d) && for package in graphiql@3.9.0 react@18.3.1 react-dom@18.3.1; do \
	    mkdir $$folder/$${package%@*} && npm pack --silent --pack-destination $$folder $$package | \
	    xargs -I{} tar -xzf $$folder/{} -C $$folder/$${package%@*} --strip-components 1 || exit 1; done && \
	    cp $$folder/graphiql/graphiql.min.js $$folder/*/umd/react.production.min.js \
	    $$folder/*/umd/react-dom.production.min.js $(GRAPHIQL) && \
	    sed 's/@font-face{[^}]*}//g' $$folder/graphiql/graphiql.min.css > $(GRAPHIQL)/graphiql.min.css && \
	    cp $$folder/graphiql/LICENSE $(GRAPHIQL)/LICENSE.graphiql && cp $$folder/react/LICENSE $(GRAPHIQL)/LICENSE.react
	sha256sum $(GRAPHIQL)/*.min.*

# These tools have their own environments: their pinned versions conflict with the project's, or few people need them.
.venv-checkov/.packages: infra/checkov/requirements.txt
.venv-beam/.packages: infra/beam/requirements.txt
.venv-beam/.packages: OPTIONS := --only-binary :all:

.venv-%/.packages:
	@.ci/install '$(PYTHON)' .venv-$* $(OPTIONS) -r $<
	@touch $@

.PHONY: checkov
checkov: .venv-checkov/.packages

.PHONY: beam
beam: setup .venv-beam/.packages
	@$(BIN)/python -m pytest tests/beam --require beam $(ARGS)
