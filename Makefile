# Three commands are all there is to know: make demo, make test, make check.
# They need Python 3.11 or later and make; the rest is set up in a virtual environment beside this file.
# Another interpreter: PYTHON=python3.13 make test

PYTHON ?= python3
TAG := $(if $(filter python3,$(notdir $(PYTHON))),,-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
VENV := .venv$(TAG)
BIN := $(VENV)/bin
RUN := env -u PYTHONPATH PATH="$(CURDIR)/$(BIN):$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)"

.PHONY: demo test quick matrix check lint types floors wheel docs bench storms llm writers clean help

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

# One stamp for each set of tools, so that the demo does not wait for the linters.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group $*
	@touch $@

demo: $(VENV)/.demo ## the main job: a bad server, and a client that gets through; ten writers, and nothing lost
	@$(BIN)/python examples/demo.py
	@$(BIN)/python examples/many_writers.py

# What waits for servers, disks and other processes, and what computes: side by side they take little longer than one of them.
WAITING := tests/stores tests/processes tests/testing tests/core/test_turns.py tests/core/test_updating.py
PYTEST = $(RUN) $(BIN)/python -m coverage run -m pytest -q

test: $(VENV)/.test ## the tests; 100 % branch coverage is required where the servers are
	@rm -f .coverage .coverage.*
ifdef ARGS
	@$(PYTEST) --ignore=tests/idempotency $(ARGS)
else
	@$(PYTEST) -p no:cacheprovider $(WAITING) > test-waiting.log 2>&1 & waiting=$$!; \
	$(PYTEST) --ignore=tests/idempotency $(addprefix --ignore=,$(WAITING)); first=$$?; \
	wait $$waiting; second=$$?; cat test-waiting.log; test $$first -eq 0 -a $$second -eq 0
endif
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report $(if $(RESILIENCE_REQUIRE_SERVERS),,--fail-under=0)

quick: $(VENV)/.test ## the tests without coverage, real processes, histories and the clients' tables: for another Python
	@$(RUN) $(BIN)/python -m pytest -q $(addprefix --ignore=tests/,idempotency processes stores/test_linearizable.py core/tables) $(ARGS)

matrix: $(VENV)/.test ## each client against a proxy that loses requests and answers: how often the work was done (two minutes)
	@$(RUN) CI=true $(BIN)/python -m pytest -q tests/idempotency $(ARGS)

check: lint types floors docs wheel ## everything else that must hold before a change lands

lint: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/check_changelog.py

types: $(VENV)/.dev
	$(RUN) $(BIN)/mypy
	$(RUN) $(BIN)/pyright
	$(RUN) $(BIN)/python tools/check_types.py

floors: $(VENV)/.check
	$(RUN) $(BIN)/lint-imports
	$(RUN) $(BIN)/python tools/check_floors.py

docs: $(VENV)/.docs ## the site, built strictly
	$(BIN)/sphinx-build -q -n -W --keep-going -b html docs docs/_build

wheel: $(VENV)/.check ## built, and imported where nothing else is installed
	$(BIN)/python tools/check_wheel.py

storms: $(VENV)/.bench ## retry storms in virtual time: tables, and plots for the docs
	@cd benchmarks && $(RUN) python -m storms $(ARGS)

llm: $(VENV)/.bench ## 50 callers of a rate-limited API: ours, its SDK and the peers
	@cd benchmarks && $(RUN) python llm.py $(ARGS)

writers: $(VENV)/.dev ## ten optimistic writers of one record: in virtual time, and as processes on the real stores
	@cd benchmarks && $(RUN) PYTHONPATH=.. python -m writers $(ARGS)

bench: $(VENV)/.bench ## what it costs, as ratios to hand-written floors and beside the peers
	$(RUN) PYTHONPATH=$(CURDIR) $(BIN)/python -m pytest -c benchmarks/pytest.ini benchmarks $(ARGS)

clean: ## remove what these commands made
	rm -rf .venv* docs/_build dist build .coverage* .*_cache .hypothesis .benchmarks
