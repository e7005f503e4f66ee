# Two commands on a fresh Debian 12 with python3, python3-venv, pip, make and git: `make demo`, `make test`.
# Programs are called as modules of .venv's Python: a checkout's path may be longer than a script's first line may be.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
UV_VERSION := 0.13.9
# Tests wait for servers more than they compute. A file stays in one process, with its servers; the long files come first.
TESTS := $(RUN) -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder
CROWDED := $(RUN) -m pytest -q -n 2 --dist loadfile -m crowded
CHECKED := lib flows dashboard reports tests
# What is unpacked counts only where nothing is installed.
export PATH := $(PATH):$(CURDIR)/.tools/usr/bin:$(CURDIR)/.tools/usr/lib/postgresql/15/bin

.PHONY: help install tools demo up test test-slow test-full nightly check lint format types layers clean
.DEFAULT_GOAL := help

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(INSTALLED)  ## make .venv with everything in it

# uv takes seconds where pip takes minutes; where it fails, pip does the same by itself.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once per change of pyproject.toml or constraints.txt)"
	@{ $(RUN) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) \
	    && $(RUN) -m uv pip install --quiet --compile-bytecode --python $(RUN) -c constraints.txt -e '.[dev]'; } \
	  || $(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(RUN) -m compileall -q lib flows dashboard reports  # else who may not write here compiles all of it at every start
	@touch $@

tools: install  ## unpack what tests need from Debian into .tools/, where it is not installed; install S3 servers there
	@sh scripts/unpack_tools.sh restic
	@PYTHON=$(PYTHON) sh scripts/install_s3_servers.sh
	@sh scripts/unpack_tools.sh postgresql-15
	@sh scripts/unpack_tools.sh libfuse2 || echo "without libfuse, the tests of \`repo mount\` are skipped"

demo: install  ## back up a platform, lose it, bring it back, compare every row and byte
	@$(RUN) -m flows.demo

up: install  ## run catalog, Prefect, flows and dashboard until Ctrl-C
	@exec $(RUN) -m flows.up

test: install tools  ## the tests, but the slow ones
	@$(TESTS) -m "not slow and not nightly"

test-slow: install tools
	@$(TESTS) -m "slow and not crowded and not nightly"; first=$$?; $(CROWDED) && exit $$first

test-full: test test-slow  ## all tests

nightly: install tools  ## what takes too long for every change: 100,000 inputs for each parser, faults in buckets, slow tests
	@EDURISE_FUZZ=100000 $(RUN) -m pytest -q tests/properties/test_parsers_fuzz.py
	@$(TESTS) -m "(slow and not crowded) or nightly"; first=$$?; $(CROWDED) && exit $$first

check: lint format types layers  ## ruff, formatting, types, layers

lint: install
	$(RUN) -m ruff check $(CHECKED)

format: install
	$(RUN) -m ruff format --check $(CHECKED)

types: install
	$(RUN) -m mypy

layers: install
	$(VENV)/bin/lint-imports

clean:  ## remove what was built or unpacked; the demonstration's results, too
	rm -rf $(VENV) .tools .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find lib flows dashboard reports tests -name __pycache__ -type d -prune -exec rm -rf {} +
