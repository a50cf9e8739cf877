# Everything is set up in .venv, from nothing; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
# Of transformers' several hundred models.
COMPILED := (?:auto|llama|bert|t5|gpt2)

.PHONY: install chromium run test test-slow test-browser lint bench bench-quick gpu-check

install: .venv/.installed

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev,llama]'
	@# pip would compile on one core, and much that nobody loads; some files of libraries cannot be compiled.
	$(BIN)/python -m compileall -qq -j 0 -x '/tests/|/transformers/models/(?!$(COMPILED)/)' .venv/lib || true
	$(BIN)/python -m compileall -qq -j 0 modelforge
	$(BIN)/modelforge starter
	@touch $@

# Playwright's own where none is on the PATH. Without any, the browser tests are skipped.
chromium: install
	@$(BIN)/python -m tests.browser.chromium

run: install
	$(BIN)/python app.py

# Three files at a time, in their order: two leave a third of two cores idle, waiting for programs that they start.
test: install chromium
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-slow: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'slow and not browser' --timeout 3600

# Every browser test, or some: MARK='browser and slow' are those that `make test` leaves out.
MARK ?= browser
test-browser: install chromium
	$(BIN)/python -m pytest -n 2 --dist loadfile -m '$(MARK)' tests/browser

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Measures beside rivals in the same run, for about an hour, and compares with tests/bench/results.json; fails where a
# target is missed or a figure of the last release is lost. BENCH="startup data" are some of its modules,
# BENCH="training --data FILE --rows 256 --pairs 1" other sizes, BENCH=--write keeps the figures.
bench: install
	$(BIN)/python -m tests.bench $(BENCH)

# The main rows, with fewer pairs.
bench-quick: install
	$(BIN)/python -m tests.bench --quick $(BENCH)

# Trains on a CUDA card and on the processor, and compares; under eight minutes. Without a card it says so.
gpu-check: install
	$(BIN)/python -m tests.bench.gpu
