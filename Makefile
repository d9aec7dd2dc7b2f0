# The only task runner. `make run` and `make test` do all the set-up themselves.
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
NEEDED_MB := 6000
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help run retry smoke test test-fast check fix lock clean
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: .venv/ready ## Default benchmark: about 10 minutes on two cores; the report's path is printed last
	@snakemake --cores $(CORES)

retry: .venv/ready ## Run exactly the jobs that failed, and what depends on them
	@failed="$$(scident list failed)"; if [ -z "$$failed" ]; then echo "nothing failed"; else snakemake --cores $(CORES) --forcerun $$failed; fi

smoke: .venv/ready ## The benchmark in miniature, in a folder of its own
	@snakemake --cores $(CORES) --configfile $(CURDIR)/config/smoke.yaml --directory results/smoke

test: .venv/ready ## All tests, with coverage
	@rm -f .coverage .coverage.*
	@coverage run -m pytest -n 2 --dist worksteal
	@coverage combine -q && coverage report

test-fast: .venv/ready ## Tests that take seconds
	@pytest -n 2 -m "not slow" tests/unit tests/contract tests/property tests/repo

check: .venv/ready ## Linters, types, formats, import rules, Snakemake lint, generated files
	@ruff check . && ruff format --check .
	@mypy
	@lint-imports
	@snakefmt --check Snakefile workflow
	@snakemake --lint
	@codespell
	@python -m scident schema | diff -q - config/schema.json || { echo "config/schema.json is stale: run make fix"; exit 1; }

fix: .venv/ready ## Run every formatter and generator
	@ruff check --fix . ; ruff format .
	@snakefmt Snakefile workflow
	@python -m scident schema > config/schema.json

lock: ## Write the exact versions of a fresh install to envs/requirements*.txt
	@sh envs/lock.sh "$(PYTHON)"

clean: ## Remove results, logs and the virtual environment
	rm -rf .venv .snakemake results/* logs benchmarks

.venv/ready: pyproject.toml envs/requirements.txt envs/requirements-dev.txt
	@[ -n "$(PYTHON)" ] || { echo "scident needs Python 3.11, 3.12 or 3.13; found $$(python3 --version 2>&1 || echo none). Install one (apt-get install python3 python3-venv) or call make PYTHON=/path/to/python3.11"; exit 1; }
	@free=$$(df -Pm . | awk 'NR==2 {print $$4}'); [ $$free -ge $(NEEDED_MB) ] || { echo "scident needs $(NEEDED_MB) MB of free disk for its packages; found $$free MB in $(CURDIR). Free some space or clone elsewhere"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "installing packages into .venv (some minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt -r envs/requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
