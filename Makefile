# Everything is done through these targets. They set up what they need; a second run does it only again
# where something changed.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
GOOGLEAPIS := build/googleapis/.ready

DEMO ?= $(BIN)/python -m nodes.demo
BENCH ?= $(BIN)/python -m benchmarks.run
SOAK ?= $(BIN)/python -m benchmarks.soak

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: venv
venv: $(READY) ## the virtual environment, with everything that development needs (PYTHON=, VENV=)

$(READY): pyproject.toml
	@if [ ! -x $(BIN)/python ]; then \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	        || { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	    $(PYTHON) -c 'import ensurepip, venv' \
	        || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv;" \
	                  "or name another: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }; \
	    $(PYTHON) -m venv $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(GOOGLEAPIS): $(READY) proto/googleapis.py
	@$(BIN)/python proto/googleapis.py $(@D)
	@touch $@

.PHONY: proto
proto: $(READY) ## write the stubs in rear/v1 and rear/event/v1 from proto/
	$(BIN)/python proto/generate.py

.PHONY: stubs-current
stubs-current: $(READY) ## prove that the committed stubs are what proto/ gives
	$(BIN)/python proto/generate.py --check

.PHONY: format
format: $(GOOGLEAPIS) ## put code and protos into their normal form
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format
	$(BIN)/buf format --write proto

.PHONY: lint
lint: $(GOOGLEAPIS) ## ruff, mypy, buf
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto

.PHONY: breaking
breaking: $(GOOGLEAPIS) ## does proto/ break clients of an earlier commit or tag (AGAINST=ref)
	@[ -n "$(AGAINST)" ] || { echo "Say against what: make breaking AGAINST=v0.1.0" >&2; exit 2; }
	@rm -rf build/against
	@mkdir -p build/against/build
	git archive "$(AGAINST)" proto | tar -x -C build/against
	@cp -R buf.yaml build/against
	@cp -R build/googleapis build/against/build
	$(BIN)/buf breaking --against build/against

.PHONY: test
test: $(READY) ## all tests (PYTEST_ARGS=)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

.PHONY: check
check: lint stubs-current test ## what CI runs

.PHONY: demo
demo: $(READY) ## an intent becomes a peering between two nodes, step by step
	$(DEMO)

.PHONY: bench
bench: $(READY) ## measure
	$(BENCH)

.PHONY: soak
soak: $(READY) ## run for long under faults
	$(SOAK)

.PHONY: clean
clean: ## remove what was built and cached; the virtual environment stays
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
