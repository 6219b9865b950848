# Two commands do everything on a fresh Debian machine with Python >= 3.11: `make demo` and `make test`.
# The targets make .venv themselves, from the lock files; PYTHON=... chooses the interpreter.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
IMAGE ?= steerd:local
ARGS ?=
LOSS ?=
UV_COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

# Tests run in a process for each core, at most four, as they start real servers (ARGS=-n0 for one, which a debugger needs).
CORES := $(shell nproc 2> /dev/null || echo 1)
BESIDE := --numprocesses $(shell echo $$(($(CORES) < 4 ? $(CORES) : 4))) --dist worksteal

# Extras whose clients the tests use.
CLIENTS := aws azure gcp grpc kafka kubernetes nats postgres redis

.PHONY: help demo test test-engines lint format bench bench-probes bench-providers soak sim coverage mutants image lock clean run-env dev-env

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: run-env ## the main job on loopback: break a zone, watch traffic leave and come back (about a minute)
	@$(BIN)/steerd demo --once $(ARGS)

test: dev-env ## all tests and linters; installs missing test servers where it may (ARGS='-k name' for some)
	@scripts/install-servers.sh
	@scripts/test-other-pythons.sh
	@echo "==> all tests on $$($(BIN)/python --version)"
	@$(BIN)/python -m pytest $(BESIDE) $(ARGS)

test-engines: dev-env ## the failure modes on real engines, llama.cpp and MLServer, which it gets the first time (10 minutes more)
	@scripts/setup-engines.sh
	@$(BIN)/python -m pytest -m engines tests/engines $(ARGS)

lint: dev-env ## ruff, mypy --strict and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: dev-env ## rewrite the code in the project's format
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: dev-env ## measure against peers (minutes; needs a quiet machine)
	@scripts/install-servers.sh
	@$(BIN)/python -m benchmarks $(ARGS)

bench-probes: dev-env ## what a look costs beside Envoy, HAProxy, gdnsd and blackbox_exporter (those that are installed); looks a second and memory of 10 000 endpoints; the error of latencies
	@$(BIN)/python -m benchmarks probes probe_load probe_latency

soak: dev-env ## ten minutes of looks at 2000 addresses: does memory, descriptors or tasks grow? (SOAK_MINUTES=60 for longer)
	@$(BIN)/python -m benchmarks probe_soak

bench-providers: dev-env ## decision -> answer of each real traffic system (BIND, Knot, PowerDNS, HAProxy, Envoy), medians of 20
	@scripts/install-servers.sh
	@$(BIN)/python -m benchmarks providers

sim: dev-env ## every scenario with seeds 1 to 20 (ARGS='--seeds 1-3' for fewer), then a day under loss (LOSS='--hours 1')
	@scripts/simulate-all.sh $(ARGS)
	@$(BIN)/python -m benchmarks false_drains --hours 24 $(LOSS)

coverage: dev-env ## branch coverage of the core by its own tests and the simulator's; under 95% fails (minutes)
	@$(BIN)/coverage run --data-file=.coverage --source=steerd.core -m pytest tests/core tests/sim -m 'not slow' $(ARGS)
	@$(BIN)/coverage report --data-file=.coverage --fail-under=95 --precision=1

mutants: dev-env ## break each rule in turn in a copy; its tests must notice (minutes; ARGS='"invariant 6"' for some)
	@$(BIN)/python -m tests.mutation $(ARGS)

image: ## build the container image steerd:local (IMAGE=... for another name)
	docker build --tag $(IMAGE) .

lock: ## resolve the dependencies of pyproject.toml anew into the lock files (needs uv)
	@command -v uv > /dev/null || { echo "error: 'make lock' needs uv on PATH (https://docs.astral.sh/uv)" >&2; exit 1; }
	@$(UV_COMPILE) $(ARGS) pyproject.toml --output-file requirements.lock
	@$(UV_COMPILE) $(ARGS) --group build --output-file requirements-build.lock
	@$(UV_COMPILE) $(ARGS) --group engines --output-file requirements-engines.lock
	@$(UV_COMPILE) $(ARGS) pyproject.toml --group dev --group servers $(CLIENTS:%=--extra %) --output-file requirements-dev.lock

clean: ## remove the environments, caches and build results
	rm -rf .venv .venv-3.* .engines build dist .coverage coverage.xml
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find steerd probes tests -name __pycache__ -type d -prune -exec rm -rf {} +

run-env:
	@scripts/setup.sh run $(VENV)

dev-env:
	@scripts/setup.sh dev $(VENV)
