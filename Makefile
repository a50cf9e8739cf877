# Everything is set up in .venv, from nothing; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install run test test-slow lint bench

install: .venv/.installed

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/modelforge starter
	@touch $@

run: install
	$(BIN)/python app.py

# Two files at a time: most of a test is Python, which fills one core.
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: install
	$(BIN)/python -m pytest -m slow --timeout 3600

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Prints ratios against named rivals, about 20 minutes. BENCH="startup", BENCH="data", or
# BENCH="training --data FILE --rows 256".
bench: install
	$(BIN)/python -m tests.bench $(BENCH)
