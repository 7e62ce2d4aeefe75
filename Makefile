# `make demo` and `make test` do all the set-up they need: a virtual environment in .venv, from requirements/.
PYTHON ?= python3
BIN := .venv/bin
# Nothing is installed whose sha256 is not in requirements/.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes
COMPILE := .venv/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make lock'
ROUNDS ?= 10
BROKER ?= valkey
SOURCES := robxfer_core services migrations tests benchmarks docs

# Networks of tests are so small that threads cost more than they give, and wait for each other where cores are few.
test unit slow peers gpu: export OMP_NUM_THREADS ?= 1

.PHONY: help demo test quick lint types imports unit coverage browser gpu slow peers chaos steady fuzz bench docs docs-links lock clean
.DEFAULT_GOAL := test

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.run  ## The quickstart study, end to end, on the embedded default
	$(BIN)/robxfer run examples/quickstart.yaml --out out/quickstart

# Two processes, each with servers of its own: many tests wait for servers. A file's tests stay together, for they share.
test: lint types imports  ## Linters, types, import rules, and every test but those that are slow or need a GPU or peers
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=
	@echo "$$($(BIN)/coverage report --format=total --precision=1) % of lines covered; \`make coverage\` lists the files"

quick: .venv/.dev  ## Linters, types, import rules and unit tests, two at a time: under a minute on 2 cores
	@$(MAKE) --no-print-directory --jobs 2 types lint imports unit

lint: .venv/.dev  ## Style of the Python files
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: .venv/.dev  ## Types of the Python files
	$(BIN)/basedpyright

imports: .venv/.dev  ## Which package may import which
	$(BIN)/lint-imports

unit: .venv/.dev  ## Tests that start no servers
	$(BIN)/python -m pytest tests/unit

coverage: .venv/.dev  ## What the last `make test` covered, by file
	$(BIN)/coverage report --skip-covered --show-missing

# `make test` runs the tests of the web page where it finds a Chromium, and says at its end where it did not.
browser:  ## Install Chromium for the tests of the web page (Debian; elsewhere any Chromium or Chrome on the path will do)
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
	{ sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); $$sudo apt-get update && $$sudo apt-get install -y --no-install-recommends chromium; }

gpu: .venv/.dev  ## Tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu -rs

slow: .venv/.dev  ## Tests that take minutes
	$(BIN)/python -m pytest -m slow

# Apart from the rest: pandas, which it brings, would change the types that others declare.
peers: .venv/.dev  ## Compare the attacks with torchattacks; open an export with Hugging Face datasets
	$(PIP) --no-deps --target .venv/peers --upgrade --requirement requirements/peers.txt
	PYTHONPATH=.venv/peers $(BIN)/python -m pytest -m peers

chaos: .venv/.dev  ## Kill servers, workers and jobs at random; ROUNDS=n, BROKER=rabbitmq where one is installed
	$(BIN)/python -m tests.chaos --rounds $(ROUNDS) --broker $(BROKER)

steady: .venv/.dev  ## Tests again and again on a busy machine; STEADY='--busy 2 --pinned 0 --whole 0 tests/service/test_ranks.py'
	$(BIN)/python -m tests.steady $(STEADY)

fuzz: .venv/.dev  ## Every route with what its schema allows and what it does not
	$(BIN)/python -m tests.fuzz

bench: .venv/.dev  ## Speed, measured
	$(BIN)/python -m benchmarks

docs: .venv/.dev  ## The documentation's site, in out/site; broken links and docstrings are errors
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --jobs auto -c docs . out/site

docs-links: .venv/.dev  ## Ask for every external link of the documentation
	$(BIN)/sphinx-build --quiet --builder linkcheck -c docs . out/links

.venv/.run: pyproject.toml requirements/api.txt requirements/worker.txt | .venv/bin/python
	$(PIP) --requirement requirements/api.txt --requirement requirements/worker.txt
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.txt | .venv/.run
	$(PIP) --requirement requirements/dev.txt
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"robxfer needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

# Each file begins as a copy of dev.txt, whose versions uv keeps: a package has one version in all of them.
lock: | .venv/bin/python  ## Bring requirements/ up to pyproject.toml; UPGRADE=--upgrade takes the newest versions
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --target .venv/uv --upgrade uv==0.13.9
	$(COMPILE) pyproject.toml --all-extras --group build $(UPGRADE) --output-file requirements/dev.txt
	for name in base api worker peers; do cp requirements/dev.txt requirements/$$name.txt; done
	$(COMPILE) pyproject.toml --group build --output-file requirements/base.txt
	$(COMPILE) pyproject.toml --group build --extra api --output-file requirements/api.txt
	$(COMPILE) pyproject.toml --group build --extra worker --output-file requirements/worker.txt
	$(COMPILE) --group peers --excludes requirements/peers.exclude --output-file requirements/peers.txt

clean:  ## Remove what was installed, built and written
	rm -rf .venv out build dist *.egg-info .coverage*
