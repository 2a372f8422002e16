# `make repro` sets up and runs the whole study on the two shipped models; `make test` runs every check.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test lint
repro: .venv/installed
	dvc repro

test: .venv/installed lint
	pytest -n auto

lint: .venv/installed
	ruff check .
	ruff format --check .
	mypy

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[pipeline,studies,dev]"
	touch $@
