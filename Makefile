# `make` or `make help` lists the targets. Those that need the virtual environment make it first
# when it is missing or older than pyproject.toml or constraints.txt.

.DEFAULT_GOAL := help
.PHONY: help venv system-packages demo test test-cluster lint bench clean FORCE

BIN := .venv/bin
INSTALLED := .venv/.installed
# Files stay whole, for their fixtures, and in order: the longest come first.
IN_TWO_PROCESSES := --numprocesses 2 --dist loadfile --no-loadscope-reorder
BENCHMARKS := $(wildcard $(patsubst %,benchmarks/%.py,preprocess propagate reading machinery fuzz loader train long_video review cluster))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(INSTALLED) ## Make or refresh .venv (PYTHON=... chooses the interpreter)

# A dangling interpreter (a Python that was since removed) counts as missing.
$(INSTALLED): pyproject.toml constraints.txt scripts/venv.sh $(shell test -x $(BIN)/python || echo FORCE)
	@scripts/venv.sh

FORCE:

system-packages: ## Install ffmpeg and chromium, which some tests use, where that is allowed
	@scripts/system-packages.sh

demo: $(INSTALLED) ## Run the whole of it on small videos into demo/ (DATA=folder to use your own)
	$(BIN)/huetrack demo --out demo $(if $(DATA),--data "$(DATA)")

test: $(INSTALLED) system-packages ## Run the tests
	$(BIN)/pytest $(IN_TWO_PROCESSES)

test-cluster: $(INSTALLED) system-packages ## Jobs on three nodes, then every fault in every stage (needs root; half an hour)
	$(BIN)/pytest tests/cluster -m ""
	@mkdir -p build
	$(BIN)/python -m benchmarks.faults --markdown build/faults.md

lint: $(INSTALLED) ## Check style, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy model pipelines jobs
	$(BIN)/lint-imports

bench: $(BENCHMARKS:benchmarks/%.py=bench-%) ## Print the tables of docs/results.md; JSON goes to build/bench/

bench-%: benchmarks/%.py $(INSTALLED)
	@mkdir -p build/bench
	$(BIN)/python -m benchmarks.$* --json build/bench/$*.json

clean: ## Remove caches, build/, dist/ and demo/; .venv stays
	rm -rf build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
