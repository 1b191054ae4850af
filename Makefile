# make demo   the environment, then the main job
# make test   the environment, then the tests (make test-slow: the heavy ones it leaves out)
# make venv   only the environment
# make pictures  distil the digits three times and draw the picture of the README
# make bench  PyTorch beside it, then every method against the original kind of loop
# make docs   the pages, the notebooks (run) and the API as a site: build/site/index.html
# make reference  PyTorch's float64 numbers anew, which the tests compare ours with

PYTHON ?= python3
NOTEBOOKS ?= force
BIN := .venv/bin
STAMP := .venv/.complete

.PHONY: venv demo test test-slow lint docs pictures bench reference

venv: $(STAMP)

$(STAMP): requirements.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "jaxdd needs Python 3.11 or newer: make PYTHON=python3.12 venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m experiments.demo --workdir=runs/demo

# mypy, which has use for one core only, runs beside the tests.
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/mypy & types=$$!; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	wait $$types || { echo "mypy: the types do not fit, see its lines above"; exit 1; }; \
	exit $$tests

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow \
	  --jaxtyping-packages=jaxdd,beartype.beartype

lint: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m sphinx -q -W --keep-going -c docs/site -d build/doctrees \
	  -D nb_execution_mode=$(NOTEBOOKS) . build/site
	@echo "build/site/index.html"

pictures: $(STAMP)
	for method in dsa dm mtt; do \
	  $(BIN)/python -m experiments.distill --dataset=digits --method=$$method --ipc=1 \
	    --workdir=runs/pictures/$$method || exit; \
	done
	$(BIN)/python -m experiments.pictures --out=docs/images/digits.png \
	  --artifacts=runs/pictures/dsa/distilled.npz,runs/pictures/dm/distilled.npz,runs/pictures/mtt/distilled.npz

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks.steps --methods=all --reference=torch \
	  --out=runs/benchmarks/steps

reference: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks.reference.expected
	$(BIN)/python -m pytest -n 0 tests/benchmarks/test_reference.py tests/benchmarks/test_expected.py
