# `make repro` sets up and runs the whole study on the two shipped models; `make test` runs every check.
# `make study-traveling_words` runs one of the smaller studies, `make studies` all of them.
# `make docker-build` and `make docker-run` do the same in a container: a shell in it, on this folder.
PYTHON ?= python3
VENV ?= .venv
export PATH := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)/bin:$(PATH)

IMAGE ?= linear-shortcuts
# Where the image's PyTorch comes from; https://pypi.org/simple has the one for CUDA.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# GPUs that the container sees, as `docker run --gpus` takes them: make docker-run GPUS=all
GPUS ?=

.PHONY: install repro studies test lint docker-build docker-run
install: $(VENV)/installed

repro: install
	dvc repro

STUDIES := $(patsubst studies/%/dvc.yaml,study-%,$(wildcard studies/*/dvc.yaml))
studies: $(STUDIES)

# A study is a DVC project of its own, so what it reads of the main pipeline, the sentences, is made first.
study-%: install
	dvc repro fetch_sentences
	cd studies/$* && dvc repro

test: install lint
	pytest -n auto

lint: install
	ruff check .
	ruff format --check .
	mypy

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[pipeline,studies,dev]"
	touch $@

docker-build:
	docker build --build-arg TORCH_INDEX=$(TORCH_INDEX) --tag $(IMAGE) .

docker-run:
	docker run --rm --interactive --tty $(if $(GPUS),--gpus $(GPUS)) --user "$$(id -u):$$(id -g)" \
		--volume "$(CURDIR):/project" $(IMAGE)
