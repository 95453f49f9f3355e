# `make demo` runs the main job on the built-in policy, `make test` the test suite. Both set up .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint clean

demo: $(READY)
	$(BIN)/rlfr-eval --task arithmetic --method base,grpo,rlfr

test: $(READY)
	$(BIN)/python -m pytest

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

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
