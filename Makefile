# HelixLab's commands. `make lab` and `make test` do all their own set-up in .venv, from the pins in constraints.txt.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help lab test lint format strip bench binder-check lock wheel clean hooks FORCE

VENV := .venv
PY := $(VENV)/bin/python
# Versions are pinned for what is installed and for what builds it; a newer pip than the pinned one is not asked for.
PIN := -c constraints.txt --build-constraint constraints.txt
PIP := $(PY) -m pip --disable-pip-version-check --no-input

# Tests and tutorials compile many small JAX programs, which one core each does: a worker per core, but not so many
# that their memory (about 1 GB each) matters.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$(( n > 4 ? 4 : n )))
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
PYTEST_ARGS ?=
LAB_DIR ?= helixlab-tutorials

# An environment knows its own path and its Python's: a checkout that was moved or copied needs a new one, and so does
# one whose Python is gone.
ifneq ($(shell $(PY) -c '' 2>/dev/null && cat $(VENV)/.made-in 2>/dev/null),$(CURDIR))
MOVED := FORCE
endif

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 22

lab: $(VENV)/.installed  ## JupyterLab with the tutorials, copied to LAB_DIR
	$(VENV)/bin/helixlab lab $(LAB_DIR)

test: lint  ## Style, types, import rules, then every test, example and tutorial
	@tools/chromium.sh
	$(PY) -m pytest -n $(WORKERS) --dist worksteal tests helixlab $(if $(NOTEBOOKS),--nbmake --nbmake-timeout=600 $(NOTEBOOKS)) $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev  ## ruff, import-linter and pyright
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(PY) -m pyright

format: $(VENV)/.installed-dev strip  ## Let ruff repair what it can; strip notebooks
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

strip: $(VENV)/.installed-dev  ## Remove the outputs from the notebooks
	$(if $(NOTEBOOKS),$(PY) -m nbconvert --clear-output --inplace --log-level WARN $(NOTEBOOKS))

bench: $(VENV)/.installed-dev  ## The benchmarks of benchmarks/
	$(PY) -m benchmarks

binder-check: $(VENV)/.installed-dev  ## Install what binder/ says into an empty environment; run the tutorials there
	PYTHON="$(PYTHON)" $(PY) tools/binder_check.py

wheel: $(VENV)/.installed-dev  ## Wheel and source distribution in dist/
	rm -rf dist
	$(PY) -m build --no-isolation --outdir dist .

lock: $(VENV)/.installed-dev  ## Pin the newest versions that fit pyproject.toml, for all supported Pythons
	$(PIP) install --quiet uv
	$(VENV)/bin/uv pip compile pyproject.toml --group dev --extra cuda --extra share --universal --python-version 3.11 --fork-strategy fewest --upgrade \
	  --no-header --no-emit-index-url --no-emit-find-links --no-annotate --quiet -o constraints.txt

hooks: $(VENV)/.installed-dev  ## Check every commit of this clone with pre-commit
	$(PY) -m pre_commit install

clean:  ## Remove the environment, builds and caches
	rm -rf $(VENV) dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made-in: $(MOVED)
	PYTHON="$(PYTHON)" tools/venv.sh $(VENV)
	$(PIP) install --quiet -c constraints.txt pip
	@printf '%s\n' '$(CURDIR)' > $@

$(VENV)/.installed: pyproject.toml constraints.txt tools/hatch_notebooks.py $(VENV)/.made-in
	@echo "Installing HelixLab into $(VENV) (a few hundred MB the first time)"
	$(PIP) install --quiet $(PIN) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt tools/hatch_notebooks.py $(VENV)/.made-in
	@echo "Installing HelixLab and its development tools into $(VENV) (a few hundred MB the first time)"
	$(PIP) install --quiet $(PIN) --editable '.[share]' --group dev
	@touch $@ $(VENV)/.installed

FORCE:
