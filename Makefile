# make demo: data, training, evaluation and the cost-accuracy table of a small network, beside the same network trained
# alone, in minutes on two cores.
# make test: formatting, lint, types and tests. Both install what they need into .venv first.
# make test-slow: the tests that take long: whole trainings, the tutorial, the wheel, the GPU report on a CPU.
# make test-page: the web page and the site of the documentation in a headless Chromium, where there is one.
# make docs: the documentation as a site in output/site, which a browser opens from the disk; a broken link is an error.
# make test-slurm: training on a SLURM cluster of two nodes that is started on this machine, where it can be.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: install demo demo-mutual demo-static test test-slow test-page test-slurm lint docs clean

install: $(INSTALLED)

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[plot,dev]"
	touch $@

demo: $(INSTALLED)
	$(RUN) tools/make_demo_data.py --output data/moving_shapes
	$(MAKE) --no-print-directory -j 2 demo-mutual demo-static
	$(RUN) tools/plot_tradeoff.py --output output/demo/comparison --text \
	    --tables "one network for all budgets=output/demo/query_table.json" \
	    --separate "trained alone=output/demo_static/query_table.json" --title "The demo: moving striped shapes"

# Both at the same time, with one thread each: the networks are too small for more.
demo-mutual: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) tools/run_net.py --cfg configs/demo/X3D_tiny_mutual_staged.yaml

# What it prints is in output/demo_static/log.txt too.
demo-static: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) tools/run_net.py --cfg configs/demo/X3D_tiny.yaml > /dev/null

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m flake8 mutualnet3d
	$(RUN) -m tests.language
	$(RUN) -m mypy

# One thread each: the tests' networks are too small for more. Compiled files are kept, whatever the environment says: the
# processes that tests start would compile the package anew. Processes start with tests side by side, which share fixtures.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN) -m pytest

# One process per core.
test: lint
	$(PYTEST) -n auto --dist worksteal -m "not slow and not slurm and not browser"

# Twice as many processes as cores: many of these tests wait for other processes.
test-slow: $(INSTALLED)
	$(PYTEST) -n $$((2 * $$(nproc))) --dist worksteal -m "slow and not slurm and not browser"

test-page: $(INSTALLED)
	$(PYTEST) -m browser tests/cli/web/test_page.py tests/test_site.py

# One after the other: the jobs take all cores.
test-slurm: $(INSTALLED)
	$(PYTEST) -m slurm tests/test_slurm.py

# The variable silences a notice of the theme's authors about their next project. With --quiet no warning would count.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "open output/site/index.html"

clean:
	rm -rf data/moving_shapes output/demo output/demo_static output/site
