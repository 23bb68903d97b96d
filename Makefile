# One command for each thing one does here. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
CODE := src tests benchmarks examples docs .ci

# The pinned wheel of Node runs pyright; without this it would also ask the network for its newest version.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# What `bench` and `chaos` take; each is passed on only when given.
figures = $(if $(ENGINE),--engine $(ENGINE)) $(if $(N),--n $(N)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## Create .venv and install treadle with its tools, exactly as pinned (PYTHON=... chooses the interpreter)
	@.ci/setup $(VENV) $(PYTHON)

.PHONY: demo
demo: setup ## Take the census of the standard library's source code (DEMO_ARGS=--exit leaves when done)
	@$(BIN)/treadle demo $(DEMO_ARGS)

.PHONY: test
test: setup ## Everything that must hold: lint, types, import contracts, tests, documentation examples, coverage
	@$(MAKE) --jobs=2 --output-sync=target lint mypy pyright
	$(BIN)/coverage erase
	@# Outside the repository, so that what a test starts there does not find our own settings above it.
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	set -x && $(BIN)/coverage run -m pytest --numprocesses=2 --dist=worksteal --basetemp="$$scratch/tests" --junitxml=build/report.xml $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	@$(PY) .ci/summary.py build/report.xml

.PHONY: fast
fast: setup ## The unit tests alone
	$(BIN)/pytest $(wildcard tests/unit tests/app tests/model tests/shape) $(ARGS)

.PHONY: lint
lint: setup ## Style, format and import contracts
	$(BIN)/ruff check --no-cache $(wildcard $(CODE))
	$(BIN)/ruff format --check $(wildcard $(CODE))
	$(BIN)/lint-imports

.PHONY: types mypy pyright
types: mypy pyright ## mypy and pyright, both strict

mypy: setup
	$(BIN)/mypy

pyright: setup
	$(BIN)/pyright

.PHONY: format
format: setup ## Rewrite the code as the formatter wants it
	$(BIN)/ruff check --no-cache --fix $(wildcard $(CODE))
	$(BIN)/ruff format $(wildcard $(CODE))

.PHONY: docs
docs: setup ## Redraw what the documentation generates from code, and run its examples
	$(PY) docs/draw_states.py
	$(BIN)/pytest tests/readme $(ARGS)

.PHONY: chaos
chaos: setup ## Kill, freeze and wake real workers, and the store's server, under load; takes ENGINE= N= SEED= OUT=
	PYTHONPATH=tests $(PY) -m chaos.run $(figures)

.PHONY: pace
pace: setup ## Hold four worker processes against a rate for a minute, on each engine side by side, or on ENGINE= alone
	PYTHONPATH=tests $(PY) -m chaos.pace $(if $(ENGINE),--engine $(ENGINE))

.PHONY: bench
bench: setup ## Measure, beside a bare loop; takes ENGINE= N= SEED= OUT=
	$(PY) -m benchmarks.run $(figures)

.PHONY: bench-rivals
bench-rivals: setup ## Measure beside other job queues, each in an environment of its own; takes ENGINE= N= ROUNDS= BACKLOG= OUT= PAGE=1
	$(PY) -m benchmarks.rivals.run $(if $(ENGINE),--engine $(ENGINE)) $(if $(N),--n $(N)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	$(if $(BACKLOG),--backlog $(BACKLOG)) $(if $(OUT),--out $(OUT)) $(if $(PAGE),--page)

.PHONY: browser
browser: ## Install Debian's Chromium, which the browser tests drive
	@if command -v chromium >/dev/null; then chromium --version; \
	elif ! command -v apt-get >/dev/null; then echo "no apt-get here: install Chromium yourself; the browser tests are skipped without it" >&2; exit 1; \
	elif [ "$$(id -u)" != 0 ]; then echo "not root: run 'sudo make browser'; the browser tests are skipped without Chromium" >&2; exit 1; \
	else apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; fi

.PHONY: lock
lock: setup ## Pin the newest versions that pyproject.toml allows, with the hashes of every wheel, in constraints.txt
	@.ci/lock

.PHONY: clean
clean: ## Remove everything that these targets made
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
