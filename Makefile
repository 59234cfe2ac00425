# make demo: data, training, evaluation and the cost-accuracy table of a small network, in minutes on two cores.
# make test: formatting, lint, types and tests. Both install what they need into .venv first.
# make test-slow: the tests that take long: whole trainings, the tutorial, the wheel, the GPU report on a CPU.
# make test-page: the web page in a headless Chromium, where there is one.
# make test-slurm: training on a SLURM cluster of two nodes that is started on this machine, where it can be.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: install demo test test-slow test-page test-slurm lint clean

install: $(INSTALLED)

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[plot,dev]"
	touch $@

demo: $(INSTALLED)
	$(RUN) tools/make_demo_data.py --output data/moving_shapes
	$(RUN) tools/run_net.py --cfg configs/demo/X3D_tiny_mutual.yaml

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# One process per core, one thread each: the tests' networks are too small for more.
test: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto -m "not slow and not slurm and not browser"

test-slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto -m "slow and not slurm and not browser"

test-page: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m browser tests/cli/web/test_page.py

# One after the other: the jobs take all cores.
test-slurm: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m slurm tests/test_slurm.py

clean:
	rm -rf data/moving_shapes output/demo
