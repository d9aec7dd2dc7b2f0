# The only task runner. `make run` and `make test` do all the set-up themselves.
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p))))
CONFIG ?= config/config.yaml
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help run retry smoke test test-fast bench check fix lock clean
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: .venv/ready ## Default benchmark: some minutes on two cores; the report's path is printed last
	@snakemake --cores $(CORES) --configfile $(CONFIG) && echo "The report is $(CURDIR)/results/report/index.html"

retry: .venv/ready ## Run exactly the jobs that failed, and what depends on them (CONFIG=config/other.yaml)
	@failed="$$(scident list failed --configfile $(CONFIG))" && \
		snakemake --cores $(CORES) --configfile $(CONFIG) $${failed:+--forcerun $$failed}

smoke: .venv/ready ## The benchmark in miniature, in a folder of its own
	@snakemake --cores $(CORES) --configfile $(CURDIR)/config/smoke.yaml --directory results/smoke

# processes run side by side: with several threads each they would fight for the cores, ten times slower on two
test test-fast bench: export OMP_NUM_THREADS := 1
test test-fast bench: export MKL_NUM_THREADS := 1

test: .venv/ready ## All tests, with coverage
	@pytest -n 2 --cov --cov-report=term:skip-covered

test-fast: .venv/ready ## Tests that take seconds
	@pytest -n 2 -m "not slow" tests/unit tests/contract tests/property tests/repo

bench: .venv/ready ## Speed of the engine, and of a finished run, written to docs/bench.md: some minutes on a quiet machine
	@python -m bench

check: .venv/ready ## Linters, types, formats, import rules, Snakemake lint, spelling
	@ruff check . && ruff format --check . && mypy && lint-imports && snakefmt --check Snakefile workflow
	@snakemake --lint && codespell

fix: .venv/ready ## Run every formatter and generator
	@ruff check --fix . ; ruff format . ; snakefmt Snakefile workflow
	@python -m scident schema > config/schema.json

lock: ## Write the exact versions of a fresh install to envs/requirements*.txt
	@sh envs/lock.sh "$(PYTHON)"

clean: ## Remove results, logs and the virtual environment
	rm -rf .venv .snakemake results/* logs benchmarks

.venv/ready: pyproject.toml envs/requirements.txt envs/requirements-dev.txt
	@sh envs/setup.sh "$(PYTHON)" .venv
