# `make help` lists the targets. A machine needs Python 3.11 or newer, make and,
# for platforms without wheels, a C compiler.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# The oldest supported Python if it is there, else whatever python3 is. Version
# managers leave a python3.11 on the path that does not run, so it is tried.
ifndef PYTHON
PYTHON := $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
endif

# Arguments for `make run` (ARGS="--testing") and for pytest (PYTEST_ARGS="-k sync").
ARGS ?=
PYTEST_ARGS ?=
# Processes for pytest; 0 runs the tests in one process. Many tests wait for sockets
# and for other processes, so there are more of them than small machines have cores.
JOBS ?= 4
# Only `make requirements` needs uv.
UV ?= uv

VENV := .venv
BIN := $(VENV)/bin
PEER_VENV := .venv-activitywatch
NODE_CLIENTS := .node-clients

PIP_FLAGS := --quiet --disable-pip-version-check --no-input
LOCKED := install $(PIP_FLAGS) --require-hashes
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --custom-compile-command 'make requirements' \
	$(if $(UPGRADE),--upgrade)

# The Python in which ActivityWatch's own server and client are installed.
export ACTIVITYWATCH_PYTHON ?= $(CURDIR)/$(PEER_VENV)/bin/python
# The folder in which ActivityWatch's client for JavaScript is installed.
export ACTIVITYWATCH_NODE ?= $(CURDIR)/$(NODE_CLIENTS)

##@ Use

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN { FS = ":.*## "; print "usage: make TARGET" } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# exec: the server takes the shell's place, so a signal to make reaches it.
# make itself reports any failure of the server as its own exit status 2.
.PHONY: run
run: $(VENV)/.run ## Install what is needed and run aw-server in the foreground; ARGS="..." are its arguments.
	@exec $(BIN)/aw-server $(ARGS)

##@ Develop

.PHONY: env
env: $(VENV)/.test ## Make .venv with everything for development.

.PHONY: env-activitywatch
env-activitywatch: $(PEER_VENV)/.done ## Make .venv-activitywatch with ActivityWatch's own server and client.

.PHONY: env-node
env-node: $(NODE_CLIENTS)/.done ## Make .node-clients with ActivityWatch's client for JavaScript, if there is npm.

.PHONY: test
test: lint pytest ## Check form, types, import rules and behaviour.

.PHONY: lint
lint: $(VENV)/.test ## Check form, types and import rules.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: pytest
pytest: $(VENV)/.test $(PEER_VENV)/.done $(NODE_CLIENTS)/.done ## Run the tests; PYTEST_ARGS="..." are pytest's arguments.
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

.PHONY: coverage
coverage: $(VENV)/.test $(PEER_VENV)/.done $(NODE_CLIENTS)/.done ## Run the tests and report the lines and branches no test reached.
	$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

.PHONY: format
format: $(VENV)/.test ## Format the sources.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: vectors
vectors: $(VENV)/.test ## Regenerate the test vectors; fails if that changes a file.
	$(BIN)/python -m tests.vectors.generate
	@changed=$$(git status --porcelain -- tests/vectors) || exit 1; \
	if [ -n "$$changed" ]; then \
		echo "make vectors: error: the generator and the committed vectors differ:" >&2; \
		echo "$$changed" >&2; \
		exit 1; \
	fi

# The suite against the wheel: the sources are taken away, so that what is
# tested is what is installed. The source archive supplies the tests.
.PHONY: wheel-test
wheel-test: $(VENV)/.test $(PEER_VENV)/.done $(NODE_CLIENTS)/.done ## Build the wheel and run the tests against it.
	@set -eu; \
	tmp=$$(mktemp -d); \
	trap 'rm -rf "$$tmp"' EXIT; \
	trap 'exit 130' INT TERM; \
	set -x; \
	$(BIN)/python -m build --no-isolation --outdir "$$tmp/dist" .; \
	mkdir "$$tmp/src"; \
	tar xf "$$tmp"/dist/*.tar.gz -C "$$tmp/src" --strip-components=1; \
	rm -rf "$$tmp/src/awserver" "$$tmp/src/client"; \
	$(PYTHON) -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip $(LOCKED) -r requirements/test.txt; \
	"$$tmp/venv/bin/python" -m pip install $(PIP_FLAGS) --no-deps --no-index "$$tmp"/dist/*.whl; \
	cd "$$tmp/src"; \
	../venv/bin/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

# 5,000 kills and 3,000 random walks take most of an hour.
.PHONY: durability
durability: $(VENV)/.test ## Kill and break the vault thousands of times; KILLS=... WALKS=... say how often.
	DURABILITY_KILLS=$(or $(KILLS),5000) DURABILITY_WALKS=$(or $(WALKS),3000) \
		$(BIN)/python -m pytest -n $(JOBS) --timeout=7200 tests/durability

# The same tests as in `make pytest`, one attack after the other, as a table.
.PHONY: attacks
attacks: $(VENV)/.test ## Attack the product, then each mutant of it; ARGS="T09 T26" are some of the attacks.
	$(BIN)/python -m tests.adversarial.attacks $(ARGS)

# Each mutant is a run of pytest of its own; `make test` has one for each attack.
.PHONY: mutants
mutants: $(VENV)/.test ## Check that a test notices every mutant of the product.
	ALL_MUTANTS=1 $(BIN)/python -m pytest -n $(JOBS) tests/adversarial/test_mutants.py

# A thousand walks take about half an hour.
.PHONY: walks
walks: $(VENV)/.test ## Walk clients and a lying host at random, often; WALKS=... says how often.
	SCENARIO_WALKS=$(or $(WALKS),1000) SCENARIO_SHRINK=1 \
		$(BIN)/python -m pytest -n 0 tests/scenarios/test_state_machine.py

# `make test` watches for a few seconds.
.PHONY: watch
watch: $(VENV)/.test $(PEER_VENV)/.done ## Watch a real window for a minute, as ActivityWatch's watchers do; WATCH=... says how many seconds.
	WATCH_SECONDS=$(or $(WATCH),60) $(BIN)/python -m pytest -n 0 --timeout=0 \
		tests/integration/clients/test_watching.py

# Each test sends so many requests, and not the same ones as the time before.
.PHONY: fuzz
fuzz: $(VENV)/.test ## Send what nobody would to every route of the gateway, often; EXAMPLES=... says how often.
	FUZZ_EXAMPLES=$(or $(EXAMPLES),5000) \
		$(BIN)/python -m pytest -n $(JOBS) --timeout=7200 tests/fuzz

# A thousand histories for each of two queries take a few minutes.
.PHONY: query-oracle
query-oracle: $(VENV)/.test $(PEER_VENV)/.done ## Ask ActivityWatch's query functions and ours about random histories; EXAMPLES=... says how many.
	QUERY_EXAMPLES=$(or $(EXAMPLES),1000) \
		$(BIN)/python -m pytest -n 0 --timeout=7200 tests/integration/query

.PHONY: bench
bench: $(VENV)/.test $(PEER_VENV)/.done ## Run the benchmarks side by side with ActivityWatch's server; ARGS="--quick" is shorter.
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: requirements
requirements: ## Pin the versions again, with hashes; UPGRADE=1 takes the newest.
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) requirements/build.in -c requirements/run.txt -o requirements/build.txt
	$(COMPILE) pyproject.toml requirements/build.in requirements/test.in \
		-c requirements/run.txt -c requirements/build.txt -o requirements/test.txt
	$(COMPILE) requirements/activitywatch.in -c requirements/build.txt \
		-o requirements/activitywatch.txt

.PHONY: clean
clean: ## Remove everything that make and the tools wrote.
	rm -rf $(VENV) $(PEER_VENV) $(NODE_CLIENTS) build dist .coverage .coverage.* htmlcov \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The files below are stamps: a second run finds them and does nothing.

.PHONY: python
python:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "make: error: no $(PYTHON) found" >&2; \
		echo "make: hint: install Python 3.11 or newer, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: error: $(PYTHON) is $$("$(PYTHON)" -V 2>&1), older than 3.11" >&2; \
		echo "make: hint: install Python 3.11 or newer, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: error: $(PYTHON) cannot make virtual environments" >&2; \
		echo "make: hint: on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }

$(VENV)/.made: | python
	@echo "installing what is needed, once: a minute or two"
	"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

# Nothing is built in isolation, because what pip would download for that is not
# checked: what builds stands in build.txt, so every byte matches a hash.
$(VENV)/.run: $(VENV)/.made requirements/build.txt requirements/run.txt pyproject.toml
	$(BIN)/python -m pip $(LOCKED) -r requirements/build.txt -r requirements/run.txt
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-index --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.txt
	$(BIN)/python -m pip $(LOCKED) -r requirements/test.txt
	@touch $@

$(PEER_VENV)/.done: requirements/build.txt requirements/activitywatch.txt | python
	"$(PYTHON)" -m venv --clear $(PEER_VENV)
	$(PEER_VENV)/bin/python -m pip $(LOCKED) -r requirements/build.txt
	$(PEER_VENV)/bin/python -m pip $(LOCKED) --no-build-isolation --use-pep517 \
		-r requirements/activitywatch.txt
	@touch $@

# Nothing that comes along is run at the installation, and each package matches its
# hash. Without npm there is no stamp, so that it is tried again.
$(NODE_CLIENTS)/.done: tests/integration/clients/node/package-lock.json
	@rm -rf $(NODE_CLIENTS) && mkdir $(NODE_CLIENTS)
	@if command -v npm >/dev/null; then \
		cp tests/integration/clients/node/package*.json $(NODE_CLIENTS)/ && \
		cd $(NODE_CLIENTS) && npm ci --ignore-scripts --no-audit --no-fund --silent && \
		touch .done; \
	else echo "make: there is no npm: the tests with ActivityWatch's JavaScript client are skipped"; fi
