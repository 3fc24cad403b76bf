# Everything runs in .venv, made once with the pins of constraints.txt.
PYTHON ?= python3
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# one thread a process: several processes with several threads each are ten times slower
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo test test-fast nightly test-arviz1 lint format docs wheel clean

demo: .venv/installed                 ## install, then train, evaluate and diagnose four VAEs on digits
	$(BIN)/ppl-vae demo

test: lint                            ## lint, types, unit tests, doctests, experiments
	$(PYTEST)

# what a change most often breaks
FAST := repository/test_layers repository/test_package repository/test_workflows test_arguments vae/test_vae test_nets objectives/test_objectives distributions/test_distributions test_importance training/test_trains laws/test_entering test_latent_draws

test-fast: .venv/installed-tests      ## a part of them, in under two minutes
	$(PYTEST) $(FAST:%=tests/%.py)

nightly: .venv/installed-tests        ## what should not matter: processors, threads, dtypes, seeds, order; kills, mutations
	$(BIN)/python tests/nightly.py
	$(BIN)/python experiments/benchmarks/kills.py
	$(BIN)/python experiments/benchmarks/mutations.py

# ArviZ 1.x needs Python 3.12, and its adapter no torch
PYTHON312 ?= python3.12

test-arviz1: .venv-arviz1/installed   ## the tests of the ArviZ adapter under ArviZ 1.x
	.venv-arviz1/bin/python -m pytest --noconftest -c /dev/null --rootdir . -p no:cacheprovider tests/diagnostics/results/test_arviz_io.py

.venv-arviz1/installed:
	$(PYTHON312) -m venv .venv-arviz1
	.venv-arviz1/bin/python -m pip install --quiet 'arviz>=1.2,<2' h5netcdf h5py matplotlib pandas pytest xarray
	@touch $@

lint: .venv/installed-tests
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: .venv/installed-tests
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: .venv/installed-docs            ## all pages and a reference of every public name, in docs/_build/html
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going --jobs auto -q -b html docs docs/_build/html

wheel: .venv/installed-tests
	$(BIN)/python -m build --wheel

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ppl_vae needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	@touch $@

.venv/installed-tests: .venv/installed
	$(PIP) --editable '.[test]'
	@touch $@

.venv/installed-docs: .venv/installed
	$(PIP) --editable '.[docs]'
	@touch $@

clean:
	rm -rf docs/_build docs/notebooks docs/reference .venv .venv-arviz1 build dist *.egg-info
