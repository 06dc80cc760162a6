# The task runner. Every target makes .venv by itself; nothing else has to be installed first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ROOMS := workers durable_objects d1
CODE := $(ROOMS) tests bench examples docs clients/python

.PHONY: help setup dev test test-clients check format bench docs clean fuzz-capture fuzz-frames reliability
help:
	@echo "make dev     serve the demo app on http://127.0.0.1:8787"
	@echo "make test    run the tests"
	@echo "make test-clients  check and test the TypeScript client (needs Node 20)"
	@echo "make check   format, lint, types, import contracts"
	@echo "make bench   run the benchmarks"
	@echo "make docs    regenerate the reference pages from the code"
	@echo "make format  rewrite the code in the project's format"

setup: $(READY)

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "flarelet needs Python 3.11 or newer")'
	@echo "Installing into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

dev: $(READY)
	@exec $(BIN)/flarelet dev

test: $(READY)
	$(BIN)/python -m pytest -n auto -q

check: $(READY)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/pyright $(ROOMS) clients/python/src
	$(BIN)/lint-imports --no-cache

format: $(READY)
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

test-clients: $(READY)
	cd clients && npm ci --no-audit --no-fund && npm run check && npm test

bench: $(READY)
	$(BIN)/python bench/run.py

fuzz-capture: $(READY)
	$(BIN)/python tests/property/fuzz_capture.py -n $(or $(N),200000)

fuzz-frames: $(READY)
	$(BIN)/python tests/property/fuzz_frames.py -n $(or $(N),1000000)

reliability: $(READY)
	FLARELET_HISTORIES=$(or $(N),1000) $(BIN)/python -m pytest -q -s --timeout 0 tests/integration/realtime/test_reliability.py

docs: $(READY)
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis dist
