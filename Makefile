# make run: the benchmark. make test: all tests. make lint: what CI checks besides.
PYTHON ?= python3
ENV := .venv
ARGS ?=

.PHONY: run test lint format tuning quality clean

run: $(ENV)/.run-installed
	$(ENV)/bin/python generative_models_GAN_VAE_RBM_benchmarks.py $(ARGS)

test: $(ENV)/.dev-installed
	$(ENV)/bin/python -m pytest

lint: $(ENV)/.dev-installed
	$(ENV)/bin/ruff check .
	$(ENV)/bin/ruff format --check .

# An hour and half an hour on two cores.
tuning: $(ENV)/.run-installed
	$(ENV)/bin/python -m tuning.search $(ARGS)

quality: $(ENV)/.run-installed
	$(ENV)/bin/python -m studies.quality $(ARGS)

format: $(ENV)/.dev-installed
	$(ENV)/bin/ruff check --fix .
	$(ENV)/bin/ruff format .

clean:
	rm -rf $(ENV)

$(ENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(ENV)

$(ENV)/.run-installed: requirements.txt | $(ENV)/bin/python
	$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(ENV)/.dev-installed: requirements.txt requirements-dev.txt | $(ENV)/bin/python
	$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@ $(ENV)/.run-installed
