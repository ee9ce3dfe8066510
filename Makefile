# `make demo` and `make test` do all the set-up themselves; a second call finds it done.
PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/demo
BIN := $(VENV)/bin
# One thread per process: the tests run in as many processes as there are cores. A process keeps to neighbouring tests
# as long as it has some, so that what a file trains for all of its tests is trained once.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo evidence test test-wide test-long browser-deps data check format clean

demo: $(VENV)/.study ## compare LeRaC with conventional training on real data (a few minutes)
	$(BIN)/lerac compare digits --out $(OUT)

test: check ## format, lint, types and the whole test suite
	$(TEST) -m "not wide and not long"

test-wide: $(VENV)/.dev ## the long matrices
	$(TEST) -m "wide and not long"

test-long: $(VENV)/.dev ## proofs that take minutes each, such as twenty kills of a study; not part of CI
	$(TEST) -m long

# Root or passwordless sudo, and apt-get; without them what needs it is skipped by the tests, and this is no error.
# $(call installed,NAME,CONDITION,PACKAGES): install packages of Debian unless a shell condition holds.
define installed
	@if $(2); then echo "$(1) is there"; exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "$(1) not installed: this system has no apt-get"; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as="sudo -n"; \
	else echo "$(1) not installed: not permitted, neither root nor passwordless sudo"; exit 0; fi; \
	($$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(3) \
	>/dev/null) || echo "$(1) not installed: apt-get failed, see above"
endef

browser-deps: ## Debian's Chromium, in which `make test` then opens the report
	$(call installed,Chromium,command -v chromium >/dev/null,chromium fonts-dejavu-core)

data: ## Debian's package of Fashion-MNIST, 31 MB, which `fashion-mnist` is read from
	$(call installed,Fashion-MNIST,[ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ],dataset-fashion-mnist)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

evidence: $(VENV)/.study ## train what is missing of the evidence, and write docs/evidence.md (hours; continues)
	$(BIN)/python evidence/train.py
	$(BIN)/python evidence/rounding.py
	$(BIN)/python evidence/write.py
	$(BIN)/lerac report runs/evidence/primary --claim 0.25
	cp runs/evidence/primary/report.html docs/evidence.html

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
