# make run: the benchmark. make test: the tests. make lint: what CI checks besides. make test-all: the slow tests too.
PYTHON ?= python3
ENV := .venv
TORCH := .venv-torch
ARGS ?=

.PHONY: run test test-all lint format tuning quality decomposition performance scaling starts torture clean

run: $(ENV)/.run-installed
	$(ENV)/bin/python generative_models_GAN_VAE_RBM_benchmarks.py $(ARGS)

test: $(ENV)/.dev-installed
	$(ENV)/bin/python -m pytest

# And the slow tests: fresh processes of families on every kind of target (studies/starts.py).
test-all: $(ENV)/.dev-installed
	$(ENV)/bin/python -m pytest -m "slow or not slow"

lint: $(ENV)/.dev-installed
	$(ENV)/bin/ruff check .
	$(ENV)/bin/ruff format --check .
	$(ENV)/bin/lint-imports --no-logo

# An hour and half an hour on two cores.
tuning: $(ENV)/.run-installed
	$(ENV)/bin/python -m studies.tuning.search $(ARGS)

quality: $(ENV)/.run-installed
	$(ENV)/bin/python -m studies.quality $(ARGS)

# Hours: minutes for every family, target and budget, of which what is there is left out.
decomposition: $(ENV)/.run-installed
	$(ENV)/bin/python -m studies.decomposition $(ARGS)

# Twenty minutes on two idle cores, the roofline's four at the end among them. PyTorch has an environment of its own: the suite does not depend on it.
performance: $(ENV)/.run-installed $(TORCH)/.installed
	$(ENV)/bin/python -m studies.speed.compare --torch-python $(TORCH)/bin/python $(ARGS)
	$(ENV)/bin/python -m studies.speed.em
	$(ENV)/bin/python -m studies.speed.roofline

# 264 fresh processes of the benchmark: does each of them come to its end?
starts: $(ENV)/.run-installed
	$(ENV)/bin/python -m studies.starts $(ARGS)

# About half an hour on two cores; what an earlier run measured is kept. Apart from `performance`, whose ratios it
# has no part in and which would then take three times as long.
scaling: $(ENV)/.run-installed
	$(ENV)/bin/python -m studies.speed.scaling $(ARGS)

# Three quarters of an hour on two cores: runs that are killed at random moments, and what becomes of them;
# and the tests on drawn input with 5 × 100 examples each.
torture: $(ENV)/.dev-installed
	$(ENV)/bin/python -m studies.torture $(ARGS)

format: $(ENV)/.dev-installed
	$(ENV)/bin/ruff check --fix .
	$(ENV)/bin/ruff format .

clean:
	rm -rf $(ENV) $(TORCH)

$(ENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(ENV)

$(ENV)/.run-installed: requirements.txt | $(ENV)/bin/python
	$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(ENV)/.dev-installed: requirements.txt requirements-dev.txt requirements-slurm.txt | $(ENV)/bin/python
	$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@ $(ENV)/.run-installed

$(TORCH)/.installed: studies/speed/requirements-torch.txt
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check -r studies/speed/requirements-torch.txt
	@touch $@
