# Everything a newcomer needs: `make demo`, `make test`. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More than two cores: much of the time is spent waiting for clients and servers.
JOBS ?= 3

.PHONY: help program demo test lint bench soak dist lock clean

help:
	@echo "make demo    (as root) RPMs, a Java build and container images, end to end, on this machine"
	@echo "make test    (as root) the whole test suite (under 15 minutes on two cores)"
	@echo "make program just the program: .venv/bin/sluice"
	@echo "make lint    ruff, mypy --strict, import-linter"
	@echo "make bench   speeds as ratios against named peers"
	@echo "make soak    the long versions of the tests"
	@echo "make dist    one archive that installs a zone on a machine without a network"
	@echo "make lock    compute requirements.lock again"

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Sluice needs Python 3.11 or newer; call: make PYTHON=python3.11 ..."; exit 1; }
	@echo "creating the virtual environment $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: system-lint system-demo system-test system-bench
system-lint system-demo system-test system-bench: system-%:
	@PYTHON=$(PYTHON) .ci/system-packages $*

program: system-lint
	@$(MAKE) --no-print-directory $(VENV)/.ready
	@$(BIN)/sluice --version

# Before anything is installed: real clients install packages, and namespaces are made.
.PHONY: as-root
as-root:
	@[ "$$(id -u)" = 0 ] || { \
	    echo "make $(MAKECMDGOALS): dnf and podman install things here, and that takes root" >&2; \
	    echo "  -> call it as root: sudo make $(MAKECMDGOALS)   (\`make program\` needs no root)" >&2; \
	    exit 1; }

demo: as-root system-demo
	@$(MAKE) --no-print-directory $(VENV)/.ready
	@$(BIN)/python -m tests.demo

test: as-root system-test
	@$(MAKE) --no-print-directory $(VENV)/.ready
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not soak" $(ARGS)

lint: system-lint
	@$(MAKE) --no-print-directory $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: system-bench
	@$(MAKE) --no-print-directory $(VENV)/.ready
	$(BIN)/python -m bench $(ARGS)

soak: as-root system-test
	@$(MAKE) --no-print-directory $(VENV)/.ready
	$(BIN)/python -m pytest -m soak -n $(JOBS) --dist loadgroup --timeout 3600 $(ARGS)
	$(BIN)/python -m pytest tests/property -m "not soak" -n $(JOBS) \
	    --hypothesis-profile soak --timeout 3600 $(ARGS)

dist: system-demo
	@$(MAKE) --no-print-directory $(VENV)/.ready
	@.ci/dist $(BIN)

lock:
	UV_SYSTEM_CERTS=true $(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes \
	    --no-emit-index-url --no-header --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) .demo .bench build dist *.egg-info
