# Every target sets up what it needs: a machine with Python 3.11, make and git is enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo
DIR ?= wheels

.PHONY: install demo test test-slow check format wheelhouse clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/depthstream demo --out $(OUT)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' --numprocesses 3 --dist loadfile

test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses 2 --dist worksteal

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheelhouse: install
	$(BIN)/python scripts/wheelhouse.py '$(DIR)' $(if $(PYTHON_VERSION),--python-version $(PYTHON_VERSION)) $(if $(LACKING),--lacking $(LACKING))

clean:
	rm -rf $(VENV) $(OUT) *.egg-info
