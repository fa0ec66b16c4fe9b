# Everything needed is installed into .venv, from the pinned versions in requirements.lock.
.DEFAULT_GOAL := help
.PHONY: help setup engines stores demo dev test test-quick sql lint types bench lock dist

# Where this is set every process compiles all its modules anew, which takes longer than most of what is started here.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
STAMP := .venv/.installed
# Worker processes of the test run, one more than cores: many tests wait. Each starts its own servers and runs whole
# files, in the order in which they are collected: conftest.py puts those first that take longest.
JOBS ?= 3
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --no-loadscope-reorder
# Options for a single target: make test ARGS="-k manifest", make bench ARGS="--preset small"
ARGS ?=

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install the pinned packages (needs Python 3.11 or newer)

# The first Python that is new enough and can make an environment; `make setup PYTHON=…` names one.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python
$(STAMP): requirements.lock pyproject.toml
	@echo "Making .venv with the pinned packages (once; the first time they are downloaded) …"
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found=$$python; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo "No fit Python was found: Python 3.11 or newer with its venv module is needed (on Debian and Ubuntu:" \
	    "apt-get install python3 python3-venv). Tried: $(PYTHON)." >&2; exit 1; fi; \
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || "$$found" -m venv --clear .venv
	@awk '/^uv==/, !/\\$$/' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
	  --require-hashes -r .venv/uv.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

engines: .venv/engines/.installed ## DuckDB with S3, and Spark, for the tests of the statements that read the files

.venv/engines/.installed: $(STAMP) engines.lock
	@echo "Installing DuckDB's extension for S3, and Spark, for the tests (once; the first time they are downloaded) …"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/engines
	@$(BIN)/uv pip install --quiet --python .venv/engines/bin/python --require-hashes -r engines.lock
	@touch $@

stores: .venv/stores/.installed ## Phoenix, MLflow, the SDKs of LangSmith and Langfuse, for the tests that read the traces that they write

.venv/stores/.installed: $(STAMP) stores.lock
	@echo "Installing Phoenix, MLflow, the SDKs of LangSmith and Langfuse, for the tests (once; the first time they are downloaded) …"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/stores
	@$(BIN)/uv pip install --quiet --python .venv/stores/bin/python --require-hashes -r stores.lock
	@touch $@

demo: $(STAMP) ## Two weeks of sample traces, through Dagster, into a bucket on this machine
	@$(BIN)/export-pipeline demo

dev: $(STAMP) ## The Dagster UI and the HTTP API on the demo's data, until Ctrl-C
	@$(BIN)/export-pipeline dev

# With ARGS it may be a few tests only; the browser test then says by itself what it lacks.
test: $(STAMP) $(if $(ARGS),,engines stores) ## All tests; installs a Chromium and a MariaDB where there is none
	@$(if $(ARGS),,$(BIN)/python -m export_pipeline_tests.live.browser)
	@$(if $(ARGS),,$(BIN)/python -m export_pipeline_tests.servers.mariadb)
	@$(PYTEST) $(ARGS)

test-quick: JOBS = 2
test-quick: $(STAMP) ## The tests that need no PostgreSQL, no MariaDB, no daemon, no browser and not many processes
	@$(PYTEST) -m "not slow" $(ARGS)

sql: $(STAMP) ## Renew the files that show the SQL made for each database (read the difference before you commit)
	@RENEW_GENERATED_SQL=1 $(BIN)/python -m pytest --quiet export_pipeline_tests/sources/sql/test_generated.py

lint: $(STAMP) ## Style, mistakes, and which room may import which
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-cache

types: $(STAMP) ## Types, strictly
	@$(BIN)/mypy

bench: $(STAMP) ## Memory and time of large days and small ones (several minutes; see benchmarks/)
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(STAMP) ## Renew requirements.lock, engines.lock and stores.lock from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --extra demo --group dev \
	  --generate-hashes --no-header --no-annotate --output-file requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --group engines \
	  --generate-hashes --no-header --no-annotate --output-file engines.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --group stores \
	  --generate-hashes --no-header --no-annotate --output-file stores.lock

dist: $(STAMP) ## Wheel, source archive, and an SBOM, with licences, of what the wheel needs
	@rm -rf dist build && mkdir build
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	@$(BIN)/uv venv --quiet --python $(BIN)/python build/runtime
	@$(BIN)/uv pip install --quiet --python build/runtime -c requirements.lock dist/*.whl
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --gather-license-texts --output-reproducible \
	  --output-file dist/export_pipeline.cdx.json build/runtime
