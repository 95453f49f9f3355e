"""docs/your-model.md: every command shown runs, in order, on a small model of a family that no recipe is made for."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from harness.core.runs import evaluations
from harness.models import loading, tiny
from harness.pipeline import choice
from tests.conftest import ROOT

GUIDE = (ROOT / "docs" / "your-model.md").read_text("utf-8")
COMMANDS = re.findall(r"^    rlfr-eval (.+)$", GUIDE, re.MULTILINE)
SHORT = ("--limit", "4", "--max-new-tokens", "8", "--set", "train.max_new_tokens=8", "--set", "validation=null")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a random Llama of two layers as MODEL."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLFR_EVAL_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        parts = loading.load(tiny.build("tiny-lm", folder / "parts"))
        sizes = {k: getattr(parts.model.config, k) for k in ("vocab_size", "intermediate_size", "pad_token_id")}
        torch.manual_seed(0)
        made: Any = LlamaForCausalLM(
            LlamaConfig(
                **sizes, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=512
            )
        )
        made.generation_config = parts.generation_config
        loading.save(parts, folder / "MODEL", made)
        yield folder


def test_the_commands_run_in_order(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shortened by flags that come last; the run's own policy scores the run's own number."""
    assert len(COMMANDS) == 5
    for command in COMMANDS:
        words = shlex.split(command)
        if "--limit" in words:
            words += SHORT if "--policy" not in words else SHORT[:2]
        run = next((str(f) for f in (desk / "runs").glob("MODEL/grpo/arithmetic/s0-*")), "")
        code = app.main([word.replace("RUN", run) for word in words])
        said = capsys.readouterr()
        assert code == 0, f"rlfr-eval {command}\n{said.err}"
        if "--identity" not in words:
            assert "the first prompt (arithmetic-test item " in said.err and "recipe neutral (" in said.err
    found = {e.results["run"]["label"] or e.results["run"]["method"]: e for e in evaluations(desk / "runs")}
    again, ours = found["again"], found["grpo"]
    assert again.results["metrics"]["accuracy"] == ours.results["metrics"]["accuracy"]
    assert again.results["generation"] == ours.results["generation"]
    assert "You are a helpful assistant." in ours.results["prompt_example"], "the model's own system turn stays"
    assert "training on arithmetic-train" not in json.dumps(again.results)


def test_the_guide_names_the_lengths_and_data_in_use() -> None:
    assert f"prompts up to {choice.LONGEST_PROMPT:,} tokens and answers up to {choice.LONGEST_RESPONSE:,}" in GUIDE
    assert choice.GENERAL_DATA["language"]["train"]["task"] == "math-lvl3to5-8k"
    assert choice.GENERAL_DATA["multimodal"]["train"]["task"] == "rlfr-dataset-vlm"
