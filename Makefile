# `make demo` and `make test` do all of their own set-up, from a clean machine.
SHELL := /bin/bash
PYTHON := .venv/bin/python
export SLIPWAY_CACHE ?= $(HOME)/.cache/slipway
# More than there are cores on a small machine: most of the slow tests wait for Kubernetes.
LANES ?= 3

.DEFAULT_GOAL := help
.PHONY: help install demo test unit soak load bench scale chaos check format generate verify build lock clean

help: ## Show what each verb does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Make .venv with everything that is pinned in tests/requirements.txt
	@.ci/install

demo: install ## Bring up a real local cluster, install the operator, serve a model and predict with it
	@$(PYTHON) -m tests.demo

test: install ## Run every tier of tests that can run on this machine, in lanes side by side (LANES=0: one after the other)
	-@$(PYTHON) -m tests.cluster prepare
	@$(PYTHON) -m pytest -n $(LANES)

unit: install ## Run the quick tests (a minute or two, no cluster)
	@$(PYTHON) -m pytest tests/unit

soak: install ## Ten minutes of mixed load while workers die and clients misbehave (ARGS="--seconds 60 --seed 7")
	@$(PYTHON) -m tests.soak $(ARGS)

load: install ## Ask 100,000 times while nodes are drained, revisions rolled out and the operator killed (about 20 minutes)
	@SLIPWAY_LOAD_REQUESTS=$${SLIPWAY_LOAD_REQUESTS:-100000} $(PYTHON) -m pytest tests/e2e/test_availability.py -s

bench: install ## Measure the runtime beside other servers and write docs/benchmarks.md (about 20 minutes; ARGS="--help")
	@$(PYTHON) -m benchmarks run $(ARGS)

scale: install ## Measure the operator with 2,000 models on a real API server, hold it to its budgets, write docs/scale.md (about 10 minutes; ARGS="--help")
	@$(PYTHON) -m tests.scale $(ARGS)

chaos: install ## 200 seeds of disorder on a real API server, each judged when the dust has settled (about 10 minutes; ARGS="--seed 7")
	@$(PYTHON) -m tests.chaos $(ARGS)

check: install verify ## Lint, types, import contracts, generated files, chart
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m tests.cluster tool helm lint --strict charts/slipway

format: install ## Format and mend what the linter can mend
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

generate: install ## Write the CRD, the chart's copies of it and of the RBAC rules, the reference pages and the features
	@$(PYTHON) -m slipway_operator.tools.generate
	@$(PYTHON) -m slipway.reference > docs/reference/cli.md
	@$(PYTHON) -m slipway_runtime.rpc.proto.generate
	@$(PYTHON) -m slipway_runtime.telemetry.reference > docs/reference/runtime-metrics.md
	@$(PYTHON) -m tests.featurepage

verify: install ## Fail when a generated file is stale
	@$(PYTHON) -m slipway_operator.tools.generate --check
	@$(PYTHON) -m slipway_runtime.rpc.proto.generate --check
	@$(PYTHON) -m tests.featurepage --check

build: install ## Build the operator and runtime images with docker, podman or buildah
	@.ci/images build

lock: install ## Pin the newest allowed versions in the requirement files
	@.ci/lock

clean: ## Stop local clusters and delete what was built in this checkout (the cache stays)
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m tests.cluster down --all; fi
	@rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
