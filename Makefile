# `make demo` and `make test` do all the set-up themselves; a second call finds it done.
PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/demo
BIN := $(VENV)/bin
# One thread per process: the tests run in as many processes as there are cores.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

.PHONY: demo test test-wide check format clean

demo: $(VENV)/.study ## compare LeRaC with conventional training on real data (a few minutes)
	$(BIN)/lerac compare digits --out $(OUT)

test: check ## format, lint, types and the whole test suite
	$(TEST) -m "not wide"

test-wide: $(VENV)/.dev ## the long matrices
	$(TEST) -m wide

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) runs dist build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"lerac needs Python >= 3.11, and $(PYTHON) is {v.major}.{v.minor}: call make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

# Each stamp is newer than the files that decide what is installed, or the installation runs again.
$(VENV)/.study: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[study]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev,yolo]'
	@touch $@ $(VENV)/.study
