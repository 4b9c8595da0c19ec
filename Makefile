# beholder: everything a developer or a first-time user runs. `make help` lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
STAMP := $(VENV)/.installed
# Test files are rewritten and compiled when they are collected; without a cache each test process does it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "beholder needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# Python compiles what it imports; to compile all that pip installs takes longer than the rest of the installation.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := install --no-compile

# pip is enough; uv is used where it is already there, because it is faster.
$(STAMP): pyproject.toml requirements.txt requirements-dev.txt | $(BIN)/python
	@if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python -r requirements-dev.txt && uv pip install --quiet --python $(BIN)/python --no-deps -e . ; \
	else $(PIP) $(INSTALL) -r requirements-dev.txt && $(PIP) $(INSTALL) --no-deps -e . ; fi
	@touch $@

.PHONY: setup
setup: $(STAMP)  ## Make the virtual environment and install everything into it

.PHONY: run
run: $(STAMP)  ## Start the service, send the sample photos through it, keep serving (ARGS=--exit to stop)
	@$(BIN)/beholder demo $(ARGS)

# Tests run side by side, each file in one process: more processes than cores, since many of them wait.
PYTEST := -m pytest -q --dist loadfile --no-loadscope-reorder --durations 10
FAST := "not slow and not aws and not alone"
FAST_PROCESSES := 3
MINISTACK := .venv-ministack/bin/ministack
AWSCLI := .venv-awscli/bin/aws
CHECKOV := .venv-checkov/bin/checkov
NEWEST := .venv-newest

.PHONY: test
test: $(STAMP)  ## The fast tests
	$(BIN)/python $(PYTEST) -n $(FAST_PROCESSES) -m $(FAST) $(ARGS)

.PHONY: test-slow
test-slow: $(STAMP)  ## Chaos, browser and long tests
	$(BIN)/python $(PYTEST) -n 4 -m "slow and not aws and not alone" $(ARGS)

.PHONY: test-aws
test-aws: $(STAMP) $(MINISTACK) $(AWSCLI)  ## The system on emulators of AWS, and on instances that boot (installs ministack and awscli: 280 MB)
	$(BIN)/python $(PYTEST) -n 6 -m "aws and not alone" $(ARGS)

# The newest Python, in fewer processes, and checkov have what the other tests leave of the cores while they wait.
.PHONY: test-together
test-together: $(STAMP) $(MINISTACK) $(AWSCLI)
	@mkdir -p out; $(MAKE) --no-print-directory test-newest >out/test-newest.log 2>&1 & newest=$$!; \
	$(MAKE) --no-print-directory template >out/template.log 2>&1 & template=$$!; \
	trap 'kill $$newest $$template' INT TERM; \
	$(BIN)/python $(PYTEST) -n 6 -m "not alone" $(ARGS); failed=$$?; \
	wait $$newest || failed=$$?; wait $$template || failed=$$?; cat out/test-newest.log out/template.log; exit $$failed

# Only the files that have such tests are collected, which takes as long as the tests themselves otherwise.
.PHONY: test-alone
test-alone: $(STAMP) $(MINISTACK) $(AWSCLI)  ## Tests that want the machine to themselves
	$(BIN)/python -m pytest -q -m alone $(shell grep -rl --include='*.py' 'mark\.alone' tests) $(ARGS)

.PHONY: test-newest
test-newest: $(STAMP)  ## Those fast tests that may differ, on the newest Python here that beholder supports
	@newest=$$($(BIN)/python tools/newest_python.py) || exit 0; \
	$(MAKE) --no-print-directory VENV=$(NEWEST) PYTHON=$$newest FAST_PROCESSES=2 \
		FAST='"not slow and not aws and not alone and not pure" --ignore tests/tidy' test

$(MINISTACK): | $(BIN)/python
	$(PYTHON) -m venv --without-pip .venv-ministack && $(PIP) --python .venv-ministack $(INSTALL) ministack==1.5.33

$(AWSCLI): | $(BIN)/python
	$(PYTHON) -m venv --without-pip .venv-awscli && $(PIP) --python .venv-awscli $(INSTALL) awscli==1.46.3

$(CHECKOV): | $(BIN)/python
	$(PYTHON) -m venv --without-pip .venv-checkov && $(PIP) --python .venv-checkov $(INSTALL) checkov==3.3.30

# What it finds and docs/deploy.md gives a reason for is in the baseline.
.PHONY: template
template: $(CHECKOV)  ## checkov on the template of a deployment (installs it: 290 MB)
	$(CHECKOV) -f src/beholder/deploy/template.yaml --framework cloudformation secrets --skip-download --compact --quiet --baseline .checkov.baseline

.PHONY: lint
lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: types
types: $(STAMP)
	$(BIN)/mypy

.PHONY: layers
layers: $(STAMP)
	$(BIN)/lint-imports

# Side by side, because an installation uses one core and waits for the network.
.PHONY: check-source
check-source:
	@$(MAKE) --no-print-directory -j 4 $(MINISTACK) $(AWSCLI) lint types layers

.PHONY: check
check: check-source test-together test-alone  ## The one gate: lint, types, layers, tidy, all tests

.PHONY: bench
bench: $(STAMP)  ## Measure the service beside the bare loop and print ratios
	$(BIN)/python bench/bench.py $(ARGS)
