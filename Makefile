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
	@[ -x "$(UV)" ] || $(PIP) $(INSTALL) pip==26.3 $(UV_PINNED) || $(PIP) $(INSTALL) pip==26.3

# Python compiles what it imports; to compile all that pip installs takes longer than the rest of the installation.
# The pip that Python 3.11 brings spends half a minute on comparing the names of wheels; this one does not.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := install --no-compile

# uv takes a tenth of pip's CPU time. It does not read pip's settings: what it cannot install, pip does.
UV = $(or $(shell command -v uv),$(CURDIR)/.venv/bin/uv)
UV_PINNED := uv==0.13.9
install_into = { [ -x "$(UV)" ] && "$(UV)" pip install --quiet --python $(1) $(2); } || $(PIP) --python $(1) $(INSTALL) $(2)

$(STAMP): pyproject.toml requirements.txt requirements-dev.txt | $(BIN)/python
	@$(call install_into,$(VENV),-r requirements-dev.txt)
	@$(call install_into,$(VENV),--no-deps -e .)
	@touch $@

.PHONY: setup
setup: $(STAMP)  ## Make the virtual environment and install everything into it

.PHONY: run
run: $(STAMP)  ## Start the service, send the sample photos through it, keep serving (ARGS=--exit to stop)
	@$(BIN)/beholder demo $(ARGS)

# Tests run side by side, each file in one process: more processes than cores, since many of them wait.
# A process that ends (see faulthandler_timeout) is not replaced: xdist would give the same test to each successor.
PYTEST := -m pytest -q --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --durations 10
FAST := "not slow and not aws and not alone"
FAST_PROCESSES := 3
MINISTACK := .venv-ministack/bin/ministack
AWSCLI := .venv-awscli/bin/aws
CHECKOV := .venv-checkov/bin/checkov
NEWEST := .venv-newest
PEERS := .venv-peers/bin/mosec

.PHONY: test
test: $(STAMP)  ## The fast tests
	$(BIN)/python $(PYTEST) -n $(FAST_PROCESSES) -m $(FAST) $(ARGS)

.PHONY: test-slow
test-slow: $(STAMP)  ## Chaos, browser and long tests
	$(BIN)/python $(PYTEST) -n 4 -m "slow and not aws and not alone" $(ARGS)

.PHONY: test-aws
test-aws: $(STAMP) $(MINISTACK) $(AWSCLI)  ## The system on emulators of AWS, and on instances that boot (installs ministack and awscli: 280 MB)
	$(BIN)/python $(PYTEST) -n 6 -m "aws and not alone" $(ARGS)

# A run that hangs beside its tests, as when a process of xdist is gone without a word, ends with its own stacks.
BOUNDED := timeout --foreground --signal ABRT --kill-after 60 3600

# The newest Python, in fewer processes, and checkov have what the other tests leave of the cores while they wait.
.PHONY: test-together
test-together: $(STAMP) $(MINISTACK) $(AWSCLI)
	@mkdir -p out; $(BOUNDED) $(MAKE) --no-print-directory test-newest >out/test-newest.log 2>&1 & newest=$$!; \
	$(MAKE) --no-print-directory template >out/template.log 2>&1 & template=$$!; \
	trap 'kill $$newest $$template' INT TERM; \
	$(BOUNDED) $(BIN)/python $(PYTEST) -n 6 -m "not alone" $(ARGS); failed=$$?; \
	wait $$newest || failed=$$?; wait $$template || failed=$$?; cat out/test-newest.log out/template.log; exit $$failed

# Only the files that have such tests are collected, which takes as long as the tests themselves otherwise.
.PHONY: test-alone
test-alone: $(STAMP) $(MINISTACK) $(AWSCLI)  ## Tests that want the machine to themselves
	$(BIN)/python -m pytest -q -m alone $(shell grep -rl --include='*.py' 'mark\.alone' tests) $(ARGS)

.PHONY: test-newest
test-newest: $(STAMP)  ## Those fast tests that may differ, on the newest Python here that beholder supports
	@newest=$$($(BIN)/python tools/newest_python.py) || exit 0; \
	$(MAKE) --no-print-directory VENV=$(NEWEST) PYTHON=$$newest FAST_PROCESSES=2 \
		FAST='"not slow and not aws and not alone and not pure" --ignore tests/tidy --ignore tests/aws --ignore tests/browser' test

$(MINISTACK): | $(BIN)/python
	$(PYTHON) -m venv --without-pip .venv-ministack
	$(call install_into,.venv-ministack,ministack==1.5.33)

$(AWSCLI): | $(BIN)/python
	$(PYTHON) -m venv --without-pip .venv-awscli
	$(call install_into,.venv-awscli,awscli==1.46.3)

$(CHECKOV): | $(BIN)/python
	$(PYTHON) -m venv --without-pip .venv-checkov
	$(call install_into,.venv-checkov,checkov==3.3.30)

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

# The processes of a run begin together: each would compile the tests, moto and all libraries anew.
.PHONY: compile
compile: $(STAMP)
	@mkdir -p out; $(BIN)/python -m pytest --collect-only -q >out/collected.log || { tail -40 out/collected.log; exit 1; }
	@cd tests/aws && ../../$(BIN)/python -c 'import moto_server'

# Side by side, because an installation uses one core and waits for the network.
.PHONY: check-source
check-source:
	@$(MAKE) --no-print-directory -j 4 $(MINISTACK) $(AWSCLI) lint types layers compile

.PHONY: check
check: check-source test-together test-alone  ## The one gate: lint, types, layers, tidy, all tests

.PHONY: package
package: $(STAMP)  ## Build wheel and sdist into dist/; a test of the gate installs them
	$(BIN)/python -m hatchling build

IMAGE_TOOL ?= podman
.PHONY: image
image:  ## Build the container's image (IMAGE_TOOL=buildah for another tool than podman)
	$(IMAGE_TOOL) build -f Containerfile -t beholder .

.PHONY: bench
bench: $(STAMP) $(PEERS)  ## Measure the service beside the bare loop and two peers, and print ratios (installs the peers: 430 MB)
	$(BIN)/python bench/bench.py --peers $(dir $(PEERS))python $(ARGS)

# The peers run the handler of the bare loop, in an environment of their own with the same model runtime.
$(PEERS): | $(BIN)/python
	$(PYTHON) -m venv --without-pip .venv-peers
	$(call install_into,.venv-peers,-c requirements.txt mosec==0.9.8 litserve==0.2.19 python-multipart openvino opencv-python-headless simplejpeg)
