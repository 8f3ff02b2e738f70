# make demo    a comparison of training strategies on two real tasks, from a bare checkout
# make test    set-up, lint, types, layers, tests
# make help    the rest

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Two workers, one torch thread each: many small models, not one large one.
WORKERS ?= 2
export OMP_NUM_THREADS ?= 1
# Bytecode is kept, whatever the environment says: without it each worker rewrites every test again (ten seconds), and
# each process that a test starts compiles the package. No test looks at logs, and catching them is a tenth of a minute.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -p no:logging

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all tests lint types layers format bench bench-rules meta-train docs hooks browser clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "steepest needs Python 3.11 or newer; none found. Say which: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "The venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# Two stamps: what the program needs, and what the tests need on top.
$(VENV)/.program: pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing steepest with its tasks and reports (torch is large: a few minutes on a fresh machine)"
	@$(PIP) install -e ".[tasks,report]" -c constraints.txt
	@touch $@

$(VENV)/.tests: pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing steepest with what its tests need (torch and jax are large: a few minutes on a fresh machine)"
	@$(PIP) install -e ".[test]" -c constraints.txt
	@touch $(VENV)/.program $@

setup: $(VENV)/.tests  ## everything needed to work on steepest, in .venv

demo: $(VENV)/.program  ## compare three strategies on two real tasks; leaderboard and report
	$(BIN)/steepest compare digits-cnn char-transformer \
		-s "sgd(lr=0.1, momentum=0.9, nesterov=True) | cosine | clip_norm(5)" \
		-s "adamw(lr=3e-3) | warmup_cosine(warmup=0.05) | clip_norm(1)" \
		-s transformer --seeds 5 --out runs/demo

test: lint types layers tests  ## lint, types, layers and tests: what must pass before a merge

test-all: lint types layers  ## the same with the slow tests
	$(PYTEST)

tests: $(VENV)/.tests  ## the tests alone
	$(PYTEST) -m "not slow"

lint: $(VENV)/.tests  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tests  ## mypy --strict
	$(BIN)/mypy

layers: $(VENV)/.tests  ## import-linter: who may import whom
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.tests  ## write the format that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.tests  ## time a step beside torch.optim; results as JSON in benchmarks/
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/step.py

bench-rules: $(VENV)/.tests  ## time a step of every rule beside every peer that has it (some 10 minutes, on a quiet machine)
	env -u OMP_NUM_THREADS $(BIN)/python benchmarks/rules.py --out benchmarks/results/rules.json

meta-train: $(VENV)/.tests  ## train the network of neuron_graph again (an hour on 2 cores; goes on where it stopped)
	$(BIN)/python -m steepest.graph.meta --only nodes & first=$$!; \
	$(BIN)/python -m steepest.graph.meta --only edges & second=$$!; wait $$first && wait $$second
	$(BIN)/python -m steepest.graph.meta --write src/steepest/rules/neuron_graph.json
	$(BIN)/python benchmarks/meta.py --out benchmarks/results/meta.json --picture docs/neuron-graph-meta.png

docs: $(VENV)/.tests  ## write the tables of docs/ again, from the classes
	$(BIN)/python docs/generate.py

hooks: $(VENV)/.tests  ## run lint, types and layers before every commit
	$(BIN)/pre-commit install

browser:  ## Chromium for the browser tests (Debian and Ubuntu, as root)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| { apt-get update -q && apt-get install -yq --no-install-recommends chromium; }

clean:  ## remove .venv and every cache; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
