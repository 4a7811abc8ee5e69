# Two commands for a newcomer: `make bench` and `make test`. Both set up whatever they need.

PYTHON ?= python3
VENV := .venv
NICPROOF := $(VENV)/bin/nicproof
STAMP := $(VENV)/.installed
BENCHMARK = $(VENV)/bin/pytest --lab=nested --progress --capture=no -q $(if $(RUN_DIR),--run-dir=$(RUN_DIR)) $(ARGS)

SITE = $(VENV)/bin/sphinx-build --quiet --fail-on-warning --keep-going -c docs -d build/doctrees . build/site

# What the controller needs beside python3: the lab's own QEMU comes with the lab's image.
TOOLS := mmdebstrap mke2fs ssh
PACKAGES := mmdebstrap debian-archive-keyring e2fsprogs openssh-client python3-venv

.PHONY: help bench qualify qualify-hosts drill live-distro
.PHONY: bench-accounting bench-calibration bench-clocks bench-commands bench-endurance bench-levels bench-pairs bench-reports bench-site
.PHONY: test tests unit live test-long setup tools test-tools check rooms docs example image clean

help:
	@echo "make bench          compare the network paths, on a host of ./lab.toml or in the nested lab: an hour"
	@echo "make bench QUICK=1  the same with two boots a path, about 20 minutes, indicative"
	@echo "                    RUN_DIR=dir chooses where the results go, ARGS='...' passes options on"
	@echo "make qualify        is its NIC fit to carry VMs? cases and a certificate, 20 minutes"
	@echo "make qualify-hosts  do three labs as three hosts find what one does? 45 minutes, 15 GB of memory"
	@echo "make bench-accounting  what exit accounting itself costs a trial, about 10 minutes"
	@echo "make bench-clocks   do figures repeat? ten launches by each clock, quiet and busy, 2 hours"
	@echo "make bench-calibration  does ab find slowdowns, and never cry wolf? real trials, 2 hours"
	@echo "make bench-commands what a command on a host takes, by a command runner and alone, half a minute"
	@echo "make bench-levels   how often is a step drawn, or a run called, where nothing changed? simulated, 5 minutes"
	@echo "make bench-pairs    does ab's test hold its level, and has it power? simulated, about 10 minutes"
	@echo "make bench-endurance  300 transfers over 30 boots in virtual time, none may hang, 15 minutes"
	@echo "make bench-reports  what the reports of large runs take: seconds and memory, two minutes"
	@echo "make bench-site     what a team's pages of 10,000 runs take: seconds and memory, four minutes"
	@echo "make drill          strike runs at any step, and the rig amid each family of cases: is the host"
	@echo "                    left as it was found? and give it NICs with a defect: are they called"
	@echo "                    not fit? 45 minutes"
	@echo "make live-distro    the way of docs/real-host on Debian 13 and 12, with systemd, udev, managers of"
	@echo "                    networks, a firewall, an account with sudo: about an hour each, as root"
	@echo "make test           linters, types, unit tests and a short end-to-end run"
	@echo "make check          of these the linters, types, floors (import-linter) and the documents' site alone"
	@echo "make unit           of these the self-tests that need no lab"
	@echo "make live           of these the self-tests in the nested lab"
	@echo "make test-long      self-tests that take minutes each: hosts of an inventory, groups, ab in the lab"
	@echo "make rooms          print the rooms of the code, floor by floor, and what each imports"
	@echo "make docs           the documents as a site: prints where it is"
	@echo "make example        docs/example, or docs/certificate, anew from the run in RUN_DIR"
	@echo "make setup          only prepare .venv and the lab's image"
	@echo "make clean          remove .venv and caches of this checkout (not the lab's image)"

bench: setup
	$(NICPROOF) bench $(if $(QUICK),--quick) $(if $(RUN_DIR),--run-dir=$(RUN_DIR)) $(ARGS)

qualify: setup
	$(NICPROOF) qualify $(if $(RUN_DIR),--run-dir=$(RUN_DIR)) $(ARGS)

qualify-hosts: RUN_DIR ?= results/hosts
qualify-hosts: setup
	$(VENV)/bin/python -m suites.benchmarks.hosts $(RUN_DIR) $(ARGS)

bench-accounting: setup
	$(BENCHMARK) suites/benchmarks/test_accounting_cost.py

bench-clocks: RUN_DIR ?= results/clocks
bench-clocks: setup
	$(BENCHMARK) suites/benchmarks/test_clocks.py
	$(VENV)/bin/python -m suites.benchmarks.clocks $(RUN_DIR)

bench-calibration: RUN_DIR ?= results/calibration
bench-calibration: setup
	$(BENCHMARK) suites/benchmarks/test_calibration.py
	$(VENV)/bin/python -m suites.benchmarks.calibration $(RUN_DIR)

bench-commands: setup
	$(VENV)/bin/python -m suites.benchmarks.commands

bench-levels: RUN_DIR ?= results/levels
bench-levels: $(STAMP)
	$(VENV)/bin/python -m suites.benchmarks.levels $(RUN_DIR)

bench-pairs: RUN_DIR ?= results/pairs
bench-pairs: $(STAMP)
	$(VENV)/bin/python -m suites.benchmarks.pairs $(RUN_DIR)

bench-endurance: setup
	$(BENCHMARK) --clock=virtual suites/benchmarks/test_endurance.py

bench-reports: $(STAMP)
	$(VENV)/bin/python -m suites.benchmarks.reports

bench-site: $(STAMP)
	$(VENV)/bin/python -m suites.benchmarks.site

# The faults first: they have a lab of their own, beside which an idle one by the virtual clock would take a CPU.
drill: setup
	$(BENCHMARK) suites/drill/test_faults.py suites/drill/test_bad_nics.py suites/drill/test_killed_guests.py

live-distro: setup
	$(BENCHMARK) suites/distro

test: test-tools $(STAMP)
	.ci/beside "$(MAKE) --no-print-directory check" -- $(MAKE) --no-print-directory tests

tests: image
	$(VENV)/bin/pytest --lab=nested -n 3 -m "not long"

unit: test-tools setup
	$(VENV)/bin/pytest --lab=nested -n 3 -m "not lab and not long"

live: test-tools setup
	$(VENV)/bin/pytest --lab=nested -n 2 -m "lab and not long"

test-long: test-tools setup
	$(VENV)/bin/pytest --lab=nested -n 2 -m long

setup: $(STAMP) image

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(SITE)

# Anything that the generator warns of, as a link that leads nowhere, is an error.
docs: $(STAMP)
	$(SITE)
	@echo "the documents: $(CURDIR)/build/site/index.html"

example: $(STAMP)
	$(VENV)/bin/python -m suites.benchmarks.example $(RUN_DIR)

rooms: $(STAMP)
	$(VENV)/bin/python -m suites.selftest.support.rooms

image: $(STAMP)
	$(NICPROOF) lab build

tools:
	@.ci/tools $(TOOLS) -- $(PACKAGES)

test-tools:
	@.ci/postgres
	@.ci/browser

$(STAMP): pyproject.toml | tools
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -qq --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
