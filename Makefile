.DEFAULT_GOAL := help
.PHONY: help demo docs test test-slow test-campaign bench lint lock

# The interpreter that .venv is made from; by default the newest of these that fits.
PYTHON ?=
PYTHONS := python3.13 python3.12 python3.11 python3
# Processes that run the tests. More of them need as many cores.
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(STAMP) ## Sweep 24 GANs over handwritten digits: some minutes on two cores
	@$(BIN)/sweeper run search_spaces/ttur.yaml --set budget.max=9 --set confirm.top=2

docs: $(STAMP) ## Build the site, the catalog in it, into build/docs
	@echo "reading the catalog and all search spaces: half a minute"
	@$(BIN)/mkdocs build --strict
	@echo "open build/docs/index.html"

test: $(STAMP) ## Run the tests, but for those that take minutes or a browser
	$(PYTEST) -m "not slow and not browser and not campaign"

test-slow: $(STAMP) ## Run the tests that take minutes or a browser
	$(PYTEST) -m "slow or browser"

test-campaign: $(STAMP) ## Kill a hundred drivers, and train every two techniques alone: half an hour
	$(PYTEST) -m campaign

bench: $(STAMP) ## Measure what is promised of speed beside others: hours; PARTS="step frechet" takes these alone
	$(BIN)/python benchmarks/bench.py $(PARTS)

lint: $(STAMP) ## Check format, style, types and the direction of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(STAMP) ## Resolve the newest dependencies into requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --group dev pyproject.toml -o requirements.lock

# Every distribution in .venv is named, with its hash, in the two locks. uv itself stands in a lock of its own, because
# it has to be there before it can install the other, and in both lists, because sync removes what is in neither.
$(STAMP): requirements.lock requirements-uv.lock pyproject.toml
	@set -e; if ! $(BIN)/python -c '$(FITS)' 2>/dev/null; then \
	  for python in $(or $(PYTHON),$(PYTHONS)); do \
	    if "$$python" -c '$(FITS)' 2>/dev/null; then found="$$python"; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "Python 3.11, 3.12 or 3.13 is needed, with its venv module, but none of these is one:" \
	      "$(or $(PYTHON),$(PYTHONS))" >&2; \
	    echo "Install one (Debian: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  echo "[1/3] making $(VENV) with $$found ($$("$$found" -V))"; \
	  "$$found" -m venv --clear $(VENV); \
	fi
	@echo "[2/3] installing the locked dependencies (about 6 GB with CUDA's libraries; the first time takes minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(BIN)/uv pip sync $$([ -t 2 ] || echo --quiet) --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock requirements-uv.lock
	@echo "[3/3] installing sweeper itself, as it stands in this folder"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
