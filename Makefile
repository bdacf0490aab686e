# Two commands are enough: `make demo` and `make test`. Each sets up its own virtual environment.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Tests without daemons share the cores; those with daemons run one after the other.
CORES ?= auto
# The CPU build of PyTorch is enough for everything here. Where pip would take the large CUDA build,
# pass the options that the PyTorch site names for CPU: make demo TORCH_FLAGS="--index-url …"
TORCH ?= torch==2.13.0
TORCH_FLAGS ?=

BIN := $(VENV)/bin

.PHONY: demo test test-slow bench bench-utility bench-kill bench-audit fuzz verifier sample-report lint stubs clean help

help:
	@echo "make demo       run a federation of five countries on this machine (ARGS=… are its options)"
	@echo "make test       run the tests"
	@echo "make test-slow  run the long ones: exhaustive searches, fuzzing, many kills"
	@echo "make bench      measure what the masked sum costs (ARGS=--quick for small sizes)"
	@echo "make bench-utility  compare models with and without privacy on real data (ARGS=--quick for a look)"
	@echo "make bench-kill kill a vault that trains 1000 times and compare its ledger with its noise (ARGS=\"--kills 100\")"
	@echo "make bench-audit  tamper with ledgers 10,000 times and ask the verifier each time (ARGS=\"--tamperings 1000\")"
	@echo "make fuzz       look for inputs that break a reader, for 10 s each (ARGS=\"--seconds 60 --only NAME\")"
	@echo "make verifier   write the auditor's tool into one file, dist/comity-verify.pyz, with its digest"
	@echo "make sample-report  run a demo, audit it, and write docs/sample-report (ARGS=--pages only draws it anew)"
	@echo "make lint       style, types, import contracts, generated stubs"
	@echo "make clean      remove what demo and test made"

demo: $(VENV)/.demo
	@$(BIN)/comity demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" -n $(CORES) --dist loadfile tests/unit tests/simulation tests/oracles tests/audit tests/bench tests/utility tests/kill $(ARGS)
	$(BIN)/python -m pytest -m "not slow" tests/integration tests/e2e $(ARGS)

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: $(VENV)/.dev
	@$(BIN)/python -m tests.bench $(ARGS)

bench-utility: $(VENV)/.dev
	@$(BIN)/python -m tests.utility $(ARGS)

bench-kill: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.kill $(ARGS)

bench-audit: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.audit $(ARGS)

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz $(ARGS)

# Needs no PyTorch and nothing of .venv. The same sources give the same bytes on every machine.
verifier: build/verifier/.parts
	@build/verifier/bin/python -I deployments/verifier/make_verifier.py build/verifier/parts dist

sample-report: $(VENV)/.dev
	@$(BIN)/python docs/make_sample_report.py $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHON=$(BIN)/python .ci/stubs && git diff --exit-code -- protos

stubs: $(VENV)/.dev
	PYTHON=$(BIN)/python .ci/stubs

clean:
	@if [ -x $(BIN)/comity ]; then $(BIN)/comity demo --clean; fi
	rm -rf $(VENV) build dist .comity .fuzz .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python: 
	@echo "setting up $(VENV) (PyTorch, Transformers, Flower; about two minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "expected Python 3.11 to 3.13; choose one: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) $(TORCH_FLAGS)
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

build/verifier/.parts: deployments/verifier/inside.txt
	@rm -rf build/verifier
	@$(PYTHON) -m venv build/verifier
	@build/verifier/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
	  --only-binary :all: --require-hashes --target build/verifier/parts -r $<
	@touch $@

# Without atheris, for which there may be no wheel, the targets are tried blindly.
$(VENV)/.fuzz: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]' || \
	  echo "atheris cannot be installed here; fuzzing goes on without coverage" >&2
	@touch $@
