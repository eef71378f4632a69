# Two commands for a newcomer: `make demo` and `make test` (TESTS='-k word' picks some). For those who change the code:
# `make check`, `make format`, `make schemas`, `make dashboards`; ARCHITECTURE.md is the map.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test soak mutants simulate alerts-trial bench check format schemas dashboards pictures clean

BENCHES := throughput disorder latency growth recovery two-workers audit archive lookback rebuild explain walls lead-flow

demo: $(VENV)/.demo
	$(BIN)/salesfx demo $(DEMO)

# Two files at a time, each with servers of its own: much of a test is waiting for a server. JOBS=0 runs one at a time.
JOBS := 2
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(TESTS)

# An hour of faults; see docs/reliability.md. SOAK='--minutes 5 --seed 7' and the like change it.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(SOAK)

# Plants bugs in copies of the tree, and tells which test caught each. MUTANTS='--list', or parts of names, choose.
mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants $(MUTANTS)

# The worker's loop in simulated worlds, more than a thousand a minute. SIMULATE='--seconds 60 --from 100000', '--from 7 --trace'.
simulate: $(VENV)/.dev
	$(BIN)/python -m tests.simulation $(SIMULATE)

# From a drop to the notification, with Debian's Prometheus and Alertmanager; minutes of waiting. TRIAL=flow, worker, publisher.
TRIAL := flow
alerts-trial: $(VENV)/.dev
	$(BIN)/python -m tests.alert_trial $(TRIAL)

# Every measurement, one after the other, for hours; then docs/performance.md. BENCH='throughput --runs 5' runs one.
bench: $(VENV)/.bench
ifdef BENCH
	$(BIN)/python -m bench $(BENCH)
else
	set -e; for each in $(BENCHES); do $(BIN)/python -m bench $$each; done
	$(BIN)/python -m bench report
endif

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What README and docs show: screenshots of a demo by the test browser.
pictures: $(VENV)/.dev
	$(BIN)/python -m tests.pictures

schemas: $(VENV)/.dev
	$(BIN)/python -m salesfx.schemas

dashboards: $(VENV)/.dev
	$(BIN)/python -m salesfx.dashboards

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "salesfx needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' || \
		{ rm -rf $(VENV); echo "no virtual environment could be made (on Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing salesfx into $(VENV)"
	$(BIN)/python -m pip install --quiet --editable '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing salesfx and its development tools into $(VENV)"
	$(BIN)/python -m pip install --quiet --editable '.[local]' --group dev
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml | $(VENV)/bin/python
	@echo "installing salesfx and what its measurements need into $(VENV)"
	$(BIN)/python -m pip install --quiet --editable '.[local]' --group bench
	@touch $@ $(VENV)/.demo
