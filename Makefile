# The developer's commands; `make help` lists them. They need only make and a Python with venv on PATH.
# Each installs its requirements in .venv once, and again when setup.cfg or the native loop changes.
# PYTHON=python3.13 selects the Python, pip's own PIP_* variables select the package index, and ARGS="…" is passed to
# the program.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Most of a test is waiting for a process or a timer, so three tests run for each processor; JOBS=0 runs one after another.
JOBS ?= $(shell expr 3 '*' $$(nproc))
PARALLEL = -n $(JOBS) --dist loadgroup
# The files on which an installation depends. It also compiles the native loop, if there is a compiler.
INSTALLED = setup.cfg setup.py pyproject.toml echod/fastpath/native_loop.c
TYPED = echod twisted/plugins bench completion docs tests

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test test-system coverage lint format bench bench-quick compare chaos fuzz soak docs linkcheck man picture recording figures completion changelog release-check release deb clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.runtime  ## start the daemon with etc/echod.toml, and print what clients send
	@exec $(BIN)/python -P -m echod --config etc/echod.toml --show $(ARGS)

test: $(VENV)/.test  ## every test that needs only this tree (ARGS=--cov shows the coverage)
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-system: $(VENV)/.dev  ## the tests that need root, the network, other programs or much time; as root, installs programs
	@tests/system_wide/prepare
	@$(BIN)/python -m pytest $(PARALLEL) -m "needs_root or needs_tools or slow" $(ARGS)
	@$(MAKE) --no-print-directory coverage

coverage: $(VENV)/.test  ## check that the unit tests run every line of the modules that setup.cfg lists
	@$(BIN)/python -m pytest -q $(PARALLEL) --cov --cov-report term tests/unit --ignore tests/unit/test_docs.py

lint: $(VENV)/.dev  ## style, types, prose, and the names of the newsfragments
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy $(TYPED)
	@$(BIN)/python -m tests.prose
	@said=$$($(BIN)/python -m towncrier build --draft --version next 2>&1) || { echo "$$said"; exit 1; }

format: $(VENV)/.dev  ## format the code, and fix what ruff can fix
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

bench: $(VENV)/.runtime  ## measure echod and its peers on this machine
	@$(BIN)/python -m bench $(ARGS)

bench-quick: $(VENV)/.runtime  ## the same in a minute
	@$(BIN)/python -m bench --quick $(ARGS)

compare: $(VENV)/.runtime  ## measure the figures of README's table: echod, xinetd, socat, irtt
	@$(BIN)/python -m bench.comparison

chaos: $(VENV)/.test  ## attack echod and other servers, and print promise, figure and result (ARGS="--only N")
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(VENV)/.test  ## send hostile input to every parser, for five minutes (ARGS="--seconds N")
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install -q '.[fuzz]' 2>/dev/null || \
	  echo "atheris cannot be installed here: coverage-guided fuzzing is skipped." >&2
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.test  ## millions of connections and datagrams, and a check for leaks (ARGS="--cycles 1000000")
	@$(BIN)/python -m tests.soak $(ARGS)

docs: $(VENV)/.dev  ## build the documentation site in build/site, readable without a network (build/site/index.html)
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site
	@echo "$(CURDIR)/build/site/index.html"

linkcheck: $(VENV)/.dev  ## ask the network whether the external links of the pages exist (make docs checks the internal ones)
	@$(BIN)/python -m sphinx -q -b linkcheck docs build/linkcheck && echo "$(CURDIR)/build/linkcheck/output.txt"

man: $(VENV)/.dev  ## build the manual pages in build/man, from docs/ (man -l build/man/echod.8)
	@$(BIN)/python -m sphinx -q -W --keep-going -b man -d build/doctrees docs build/man
	@ls build/man/*

picture: $(VENV)/.dev  ## record docs/terminal.svg from a real run of the daemon and its client
	@$(BIN)/python -m docs.picture

recording: $(VENV)/.dev  ## record the tour of the start page, docs/_static/tour.cast and tour.svg, from a real terminal
	@$(BIN)/python -m docs.tour

figures: $(VENV)/.runtime  ## draw the pictures of the course, docs/course/*.svg, from their programs and data
	@$(BIN)/python -m docs.figures

completion: $(VENV)/.dev  ## write the completion of bash and zsh to build/completion, from the two programs' parsers
	@$(BIN)/python -m completion build/completion
	@ls build/completion/*/*

changelog: $(VENV)/.dev  ## print the chapter of CHANGELOG.md for the next version, from newsfragments/
	@$(BIN)/python -m towncrier build --draft --date "not released" --version "$$($(BIN)/python -c "from echod.version import VERSION; print(VERSION)")" 2>/dev/null

release-check: $(VENV)/.dev  ## build wheel and sdist in dist/, and test each in a fresh environment
	@PYTHON=$(BIN)/python release/build dist

release: $(VENV)/.dev  ## changelog, distributions, commit and tag: make release VERSION=0.2.0 (docs/RELEASING.md)
	@PYTHON=$(BIN)/python release/release "$(VERSION)"

deb: $(VENV)/.dev  ## build the Debian package into dist/, from an sdist, and check it with lintian
	@rm -rf build/sdist && $(BIN)/python -m build --sdist --outdir build/sdist . >/dev/null
	@debian/build-package build/sdist/txechod-*.tar.gz dist

clean:  ## remove the output of these commands
	@rm -rf $(VENV) build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache _trial_temp
	@rm -f twisted/plugins/dropin.cache twistd.pid twistd.log
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found; make PYTHON=… selects another." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "echod needs Python 3.11 or newer, and \
	this is %d.%d; make PYTHON=… selects another." % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV), once…"
	@$(PYTHON) -m venv --clear $(VENV)

# Each set of requirements includes those before it: after `make lint` the other commands run offline.
$(VENV)/.runtime: $(BIN)/python $(INSTALLED)
	$(call install,.)
$(VENV)/.test: $(BIN)/python $(INSTALLED)
	$(call install,.[test],$(VENV)/.runtime)
$(VENV)/.dev: $(BIN)/python $(INSTALLED)
	$(call install,.[dev],$(VENV)/.runtime $(VENV)/.test)

# Without editable_mode=compat, twistd does not find the plugin.
define install
@echo "Installing $1 into $(VENV)…"
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '$1'
@touch $2 $@
endef
