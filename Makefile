# The two commands for a new machine: `make serve` and `make test`. Needs Python 3.11+ with venv.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CPP := $(wildcard models/kernels/cpu/src/*)

.PHONY: help install paper serve test test-slow lint format types check clean
.DEFAULT_GOAL := help

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Headfirst needs Python 3.11 or later; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.served: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

$(VENV)/.tested: $(VENV)/.served
	$(PIP) -e '.[dev]'
	@touch $@

install: $(VENV)/.served ## Install the server into .venv

serve: install ## Install what is missing and serve the model that ships, on http://127.0.0.1:8080
	@$(BIN)/headfirst serve $(ARGS)

test: $(VENV)/.tested ## Run the tests (ARGS="-k topk" for some)
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

test-slow: $(VENV)/.tested ## Run the slow tests too
	$(BIN)/python -m pytest -m 'not gpu' --timeout 1800 $(ARGS)

lint: $(VENV)/.tested ## Check format, lint, and who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: $(VENV)/.tested ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP)

types: $(VENV)/.tested ## Check the types
	$(BIN)/mypy

paper: install ## The paper's table on your text (CORPUS=path, ARGS=--full for a GPU)
	$(BIN)/python -m benchmarks.paper $(CORPUS) $(ARGS)

check: lint types test ## All of it

clean: ## Remove what was installed and built
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis
