# `make` alone lists what there is.
PYTHON ?= python3.11
VENV ?= .venv
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ringmill
CONSTRAINTS ?= .ci/constraints.txt
DEMO ?= demo
# Of a machine with a GPU: any Python with torch, such as `make test-gpu GPU_PYTHON=python3` (docs/gpu.md).
GPU_PYTHON ?= $(VENV)/bin/python
GPU_PYTHON_VERSION ?= 3.12
WHEELS ?= .whl
BENCHES ?= tests/bench/ingest.py tests/bench/dedup.py tests/bench/feed.py tests/bench/allreduce.py tests/bench/heads.py

bin := $(VENV)/bin
# Where packages come from is pip's business: PIP_INDEX_URL, PIP_FIND_LINKS and the like are read from the environment.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-gpu gpu-wheels bench lint lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## make the virtual environment: pinned packages, Horovod built against torch, Petastorm

$(VENV)/.ready: pyproject.toml .ci/constraints.txt .ci/setup.sh jobs/install_ring.sh
	PYTHON=$(PYTHON) VENV=$(VENV) CACHE=$(CACHE) CONSTRAINTS=$(CONSTRAINTS) .ci/setup.sh

demo: setup ## draw a sample set with planted faults, run everything on 2 ranks, print where the report is
	$(bin)/ringmill sample $(DEMO)/sample --identities 60 --photos 20 --seed 0 --processes 2
	$(bin)/ringmill run name=demo system=demo source.path=$(DEMO)/sample/images store=$(DEMO)/store runs=$(DEMO)/runs

lint: setup
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

test: lint ## set-up, lint, types, and the tests of under 15 minutes
	$(bin)/pytest

test-long: test ## the same and the slow tests
	$(bin)/pytest -m slow

test-gpu: $(if $(filter $(VENV)/%,$(GPU_PYTHON)),setup) ## what a GPU changes: feed, precision, heads, trainings; in small where there is none
	$(GPU_PYTHON) -m pytest tests/gpu

gpu-wheels: ## collect the small packages that test-gpu needs on a machine with a GPU and no network
	.ci/gpu-wheels.sh $(PYTHON) $(GPU_PYTHON_VERSION) $(CONSTRAINTS) $(WHEELS)

bench: setup ## the benchmarks that draw their own data, one JSON line each at its end
	for bench in $(BENCHES); do echo "== $$bench"; $(bin)/python $$bench || exit 1; done

lock: setup ## write down the versions that are installed and were tested
	.ci/lock.sh $(bin)/python > $(CONSTRAINTS)

clean: ## remove the virtual environment and the demo
	rm -rf $(VENV) $(DEMO)
