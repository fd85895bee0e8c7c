# Every target does its own set-up; what is set up already is not done again.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

# Two servers and a client share each worker's core, so more workers than cores only get in the way.
TEST_WORKERS ?= 2
TESTS ?=

# A quick look; the figures that are published come from BENCH='--scale 1 --lag-seconds 120'.
BENCH ?=
BENCH_COPY ?=

# Migrations to kill, as many to cut off, and faults in each; random schedules to replay.
CAMPAIGN_RUNS ?= 100
CAMPAIGN_FAULTS ?= 6
SCHEDULES ?= 200

# Of some kinds of kills there are to be many, while those above take each of 18 kinds by chance:
# apply and receive 25 x 12 = 300 times each; the target's server, and both servers with all of the
# program, 5 x 10 = 50 times each. A run draws nothing but its kind until the writers have stopped.
CAMPAIGN_WORKER_RUNS ?= 25
CAMPAIGN_WORKER_FAULTS ?= 12
CAMPAIGN_SERVER_RUNS ?= 5
CAMPAIGN_SERVER_FAULTS ?= 10

# Damaged places of each kind of file.
DAMAGES ?= 2000

.PHONY: help demo test campaign bench check format clean compiled

help:
	@echo 'make demo    a whole migration on embedded servers, from nothing'
	@echo 'make test    install what the tests need, and run all of them'
	@echo 'make campaign  kill CAMPAIGN_RUNS migrations at random moments, replay SCHEDULES random schedules'
	@echo 'make bench   speed and lag beside PostgreSQL, with the options in BENCH and BENCH_COPY (--help)'
	@echo 'make check   lint, format, types and import contracts'
	@echo 'make format  mend what the formatter and the linter can mend'
	@echo 'make clean   remove the virtual environment and all caches'

demo: compiled
	$(BIN)/pgcopydb demo

test: compiled
	sh scripts/install-debian-servers
	$(BIN)/pytest -n $(TEST_WORKERS) --dist worksteal $(TESTS)

# kills of one kind: its name, and how many runs and faults
define kills
CAMPAIGN_KINDS='$(1)' CAMPAIGN_RUNS=$(CAMPAIGN_$(2)_RUNS) CAMPAIGN_FAULTS=$(CAMPAIGN_$(2)_FAULTS) \
		$(BIN)/pytest -q -p no:randomly -n $(TEST_WORKERS) --dist worksteal \
		tests/campaign/kill_follow.py
endef

campaign: compiled
	CAMPAIGN_RUNS=$(CAMPAIGN_RUNS) CAMPAIGN_FAULTS=$(CAMPAIGN_FAULTS) \
		$(BIN)/pytest -q -p no:randomly -n $(TEST_WORKERS) --dist worksteal \
		tests/campaign/kill_follow.py tests/campaign/kill_clone.py \
		tests/campaign/cut_follow.py tests/campaign/cut_copy.py \
		tests/campaign/trouble_follow.py
	$(call kills,apply,WORKER)
	$(call kills,receive,WORKER)
	$(call kills,target server,SERVER)
	$(call kills,group and both servers,SERVER)
	$(BIN)/python -m tests.campaign.results
	SCHEDULES=$(SCHEDULES) $(BIN)/pytest -q -s -p no:randomly --hypothesis-show-statistics \
		tests/campaign/schedules.py
	$(BIN)/pytest -q -s -p no:randomly tests/campaign/upgrade.py
	$(BIN)/pytest -q -s -p no:randomly tests/campaign/regression_database.py
	$(BIN)/pytest -q -s -p no:randomly tests/campaign/hostile_names.py
	$(BIN)/pytest -q -s -p no:randomly tests/campaign/versions.py tests/campaign/check_versions.py
	$(BIN)/pytest -q -s -p no:randomly tests/campaign/clock_jumps.py
	$(BIN)/pytest -q -s -p no:randomly tests/campaign/random_values.py
	$(BIN)/pytest -q -s -p no:randomly tests/campaign/failing_syncs.py
	$(BIN)/pytest -q -s -p no:randomly -n 0 tests/campaign/many_tables.py tests/campaign/large_transaction.py
	DAMAGES=$(DAMAGES) $(BIN)/pytest -q -n 0 tests/unit/test_damage.py

bench: compiled
	$(BIN)/python bench/cdc.py $(BENCH)
	$(BIN)/python bench/base_copy.py $(BENCH_COPY)

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# As an installation from a package is: without it, and where Python may not write bytecode, each
# process compiles all that it imports, which is half of the CPU that starting one costs.
compiled: $(INSTALLED)
	$(BIN)/python -m compileall -q src

$(INSTALLED): pyproject.toml scripts/bootstrap.py
	$(PYTHON) scripts/bootstrap.py $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	touch $@
