# Everything a developer, a first visitor or CI runs. `make` lists it.
PY := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
# Tests start hundreds of programs; none of them should compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
# For two cores: tests wait as often as they compute.
WORKERS ?= 3
TESTS := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
DEMO := $(if $(DATA),--data $(DATA)) $(if $(KEEP),--keep)

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.venv/ready: requirements.lock requirements-node.lock requirements-pip.lock package-lock.json pyproject.toml deploy/setup.sh
	./deploy/setup.sh

setup: .venv/ready ## virtual environment, all programs, tools, viewer bundle

demo: setup      ## a whole network on this machine (DATA=DIR adds real studies, KEEP=1 leaves it up)
	$(PY) -m deploy.local $(DEMO)

test: setup      ## every test but those that are slow, nightly or for a GPU, a small end-to-end story included
	$(TESTS) -m "not gpu and not slow and not nightly"

slow: setup      ## the tests that compute for long or start a whole federation; CI runs them too
	$(TESTS) -m "slow and not gpu and not nightly"

nightly: setup   ## the tests of more than a minute each (ONLY=FOLDER for some)
	$(TESTS) -m "nightly and not gpu" $(ONLY)

lint: setup      ## style, types, architecture
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	lint-imports

check: lint test ## what must pass before a commit

fmt: setup       ## format and fix
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: setup     ## every benchmark, quickly
	set -e; for file in $$(grep -l '^ *main("' bench/*.py); do $(PY) -m bench.$$(basename $$file .py) --quick; done

docs: setup      ## the file table of ARCHITECTURE.md and the list of codes, from the code
	$(PY) -m deploy.reference

stubs: setup     ## Python stubs of protocol/link.proto
	$(PY) -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --mypy_out=. protocol/link.proto

fab: setup       ## the Flower bundle's hash and what it holds
	$(PY) -m server.bundle

lock: setup      ## hashes of every wheel in use, no addresses
	$(PY) -m deploy.lock

.PHONY: help setup demo test slow nightly lint check fmt bench docs stubs fab lock
