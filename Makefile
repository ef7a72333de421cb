SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.leyline-setup
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
ONLY ?=

help:  ## What can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## .venv with everything locked, and the Debian packages that tests and demo use

$(STAMP): requirements.lock pyproject.toml .ci/apt-packages .ci/setup
	@PYTHON="$(PYTHON)" SUDO="$(SUDO)" .ci/setup
	@touch $@

check: lint  ## The fast gate: ruff, mypy --strict, import-linter, unit tests that are quick (about a minute)
	HYPOTHESIS_PROFILE=quick $(BIN)/pytest -q -n 2 -m "not root and not lab and not slow and not postgres" tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(STAMP)  ## Everything: the gate, real kernels, real peers, every lab scenario once (root)
	.ci/test

demo: $(STAMP)  ## The main job: controller, a lab of namespaces, real BGP, real pings (root)
	$(SUDO) $(BIN)/leyline lab run demo

bench: $(STAMP)  ## Benchmarks against BIRD, FRR and ip -batch, one JSON object a line; ONLY=name runs one (root)
	$(SUDO) $(BIN)/python -m tests.bench $(ONLY)

soak: $(STAMP)  ## The repetitions: BFD under a million routes, then every scenario ten times, its figures on stdout (root)
	$(SUDO) env LEYLINE_SOAK=1 $(BIN)/pytest -q -s tests/netns/test_liveness_load.py >&2
	$(SUDO) $(BIN)/leyline lab run --all --runs 10 --json

zerotier: $(STAMP)  ## The contract of the ZeroTier adapters with the real one that LEYLINE_ZEROTIER_ONE names, or PATH has
	$(BIN)/python -m tests.controller.zerotier

golden: $(STAMP)  ## Rewrite the golden files; read the diff as product
	LEYLINE_GOLDEN=rewrite $(BIN)/pytest -q tests -k golden

.PHONY: help setup check lint test demo bench soak zerotier golden
