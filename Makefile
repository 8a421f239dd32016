# Everything a person or CI needs. Each target sets up what it uses in $(VENV).
VENV   ?= .venv
PYTHON ?= python3
BIN     = $(VENV)/bin
PIP     = $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test test-all check bench clean

help:
	@echo "make demo      set up, then train, swap, merge and publish with the embedded model (offline)"
	@echo "make test      set up, then run the tests"
	@echo "make test-all  the same with every method on every architecture, and hundreds of kills"
	@echo "make check     formatting, lint, types, import contracts"
	@echo "make bench     measure us and the peers side by side"
	@echo "make clean     remove the virtual environment and build leftovers"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: FineTUI needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing FineTUI into $(VENV) (torch and transformers are large: about a minute) ..."
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing FineTUI and its development tools into $(VENV) ..."
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.app

demo: $(VENV)/.app
	$(BIN)/finetui demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m 'not matrix' $(PYTEST_ARGS)

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/.dev
	$(PIP) install --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python bench/swap.py
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/screen.py
	$(BIN)/python bench/supervision.py
	$(BIN)/python bench/training.py

clean:
	rm -rf $(VENV) build dist *.egg-info
