PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
BENCH_VENV := .venv-bench

.PHONY: demo example test test-long check bench bench-long guards fuzz soak drill clean

demo: $(VENV)/demo
	$(BIN) -m flaggate demo $(ARGS)

example: $(VENV)/demo
	$(BIN) -m flask --app example_apps/flask_invoicing/app.py run

test: $(VENV)/test
	$(BIN) -m pytest --numprocesses 3 -m "not long"

# What takes half a minute and more.
test-long: $(VENV)/test
	$(BIN) -m pytest --numprocesses 2 -m long

check: $(VENV)/dev
	$(BIN) -m ruff format --check .
	$(BIN) -m ruff check .
	$(BIN) -m mypy

bench: $(BENCH_VENV)/peers $(VENV)/test
	$(BENCH_VENV)/bin/python -m benchmarks.peers $(ARGS)
	$(BIN) benchmarks/decide.py
	$(BIN) benchmarks/middleware.py
	$(BIN) benchmarks/frameworks.py

bench-long: $(VENV)/test
	$(BIN) benchmarks/kill.py
	for store in sqlite postgresql redis valkey; do $(BIN) -m benchmarks.propagation $$store; done
	for store in sqlite postgresql redis; do $(BIN) -m benchmarks.scale $$store; done
	$(BIN) -m benchmarks.many_flags
	$(BIN) benchmarks/console.py

# About a quarter of an hour of CPU; SCALE=1000 is a million inputs, SEED=1 are others.
fuzz: SCALE ?= 150
fuzz: SEED ?= 0
fuzz: $(VENV)/test
	FLAGGATE_FUZZ=$(SCALE) FLAGGATE_FUZZ_SEED=$(SEED) $(BIN) -m pytest tests/fuzz --numprocesses 2 -m fuzz $(ARGS)
	$(BIN) -m tests.fuzz.growth

# An hour under load, or so many MINUTES.
soak: MINUTES ?= 60
soak: $(VENV)/test
	$(BIN) -m benchmarks.soak --minutes $(MINUTES) $(ARGS)

# Six minutes at most; as root, for the drill of a full disk.
drill: $(VENV)/test
	$(BIN) -m benchmarks.drill $(ARGS)

guards: $(VENV)/test
	$(BIN) -m benchmarks.guards $(ARGS)

clean:
	rm -rf $(VENV) $(BENCH_VENV)

$(BIN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "flaggate needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: $(BIN) pyproject.toml
	$(BIN) -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/test: $(BIN) pyproject.toml
	$(BIN) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/dev: $(BIN) pyproject.toml
	$(BIN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The peers have an environment of their own: what they bring must not meet the tests.
$(BENCH_VENV)/peers: benchmarks/peers/requirements.txt pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
	  --requirement benchmarks/peers/requirements.txt
	@touch $@
