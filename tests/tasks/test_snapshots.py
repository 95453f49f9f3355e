"""Prompts stay as they are: messages and rendered ids of every task under every shipped rendering are committed.

A difference is a change of what models are asked, so it needs a new version of the task. After such a change, and only
then: UPDATE_PROMPT_SNAPSHOTS=1 pytest tests/tasks/test_snapshots.py, and read the difference in version control.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from harness.core import config
from harness.core.records import Example, ImageSlot, PixelBudget, Prompt, PromptStyle
from harness.models import tiny
from tasks.base import Task, task
from tasks.resolve import resolve
from tests.tasks.conftest import Write
from tests.tasks.rows import ROWS

FOLDER = Path(__file__).parent / "snapshots"
UPDATE = "UPDATE_PROMPT_SNAPSHOTS"
RECIPES = {"language": ("tiny-lm", "qwen2.5-math-7b"), "multimodal": ("tiny-vl", "qwen2.5-vl-7b")}
GENERATED = ("arithmetic-test", "charts-test")


def test_every_task_has_a_snapshot() -> None:
    known = {resolve(name).key for name in (*ROWS, *GENERATED)}
    assert known == set(task.keys())
    assert {f.stem for f in FOLDER.glob("*.json")} == {*ROWS, *GENERATED}


@pytest.fixture(scope="module")
def renderers() -> dict[str, Any]:
    """By recipe: its style and pixel budget on the built-in policies' tokenizer and processor (Qwen's chat layout)."""
    from harness.models.renderer import Renderer

    tokens = tiny.tokenizer()
    found = {}
    for modality, names in RECIPES.items():
        processor = tiny._processor(tokens) if modality == "multimodal" else None
        for name in names:
            asked = config.load(name).rendering
            style = PromptStyle(system=asked.system, prefix=asked.prefix, suffix=asked.suffix)
            found[name] = Renderer(tokens, processor, style, PixelBudget(asked.min_pixels, asked.max_pixels))
    return found


@pytest.fixture
def examples(tmp_path: Path, parquet: Write) -> Any:
    def load(name: str) -> tuple[Task, list[Example]]:
        if name in GENERATED:
            return resolve(name), resolve(name).load()[:3]
        found = resolve(name)
        source = found.hub[found.split].split
        parquet(tmp_path / "data" / f"{source}-00000-of-00001.parquet", ROWS[name])
        local = resolve(name, tmp_path)
        if not any(next(iter(tmp_path.glob(n)), None) for n in local.local_names()):
            pytest.fail(f"{name} does not read the hub's layout")
        return local, local.load()

    return load


@pytest.mark.parametrize("name", [*ROWS, *GENERATED])
def test_prompts_are_as_committed(name: str, examples: Any, renderers: dict[str, Any]) -> None:
    found, items = examples(name)
    shown = {"task": found.name, "version": found.version, "items": [_item(e) for e in items]}
    for recipe in RECIPES[found.modality]:
        renderer = renderers[recipe]
        shown[recipe] = {"template": renderer.hash, "prompts": [_prompt(renderer.render(e)) for e in items]}
    file = FOLDER / f"{name}.json"
    text = json.dumps(shown, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get(UPDATE):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
    assert file.is_file(), f"no snapshot of {name}; write it with {UPDATE}=1"
    assert json.loads(file.read_text("utf-8")) == json.loads(text)


def _item(example: Example) -> dict[str, Any]:
    parts = [
        [f"<image {p.index}>" if isinstance(p, ImageSlot) else p.text for p in message.parts]
        for message in example.messages
    ]
    answer = {"type": example.answer.type.value, "golds": example.answer.golds, "choices": example.answer.choices}
    return {
        "id": example.id,
        "roles": [m.role for m in example.messages],
        "parts": parts,
        "answer": answer,
        "rule": example.rule,
    }


def _prompt(prompt: Prompt) -> dict[str, Any]:
    """Text, and ids on one line with runs of image tokens as counts."""
    pads = prompt.mm_token_type_ids or (0,) * len(prompt.ids)
    return {"text": prompt.text, "ids": " ".join(_runs(prompt.ids, pads)), "tokens": len(prompt.ids)}


def _runs(ids: tuple[int, ...], pads: tuple[int, ...]) -> Iterator[str]:
    for (token, pad), run in groupby(zip(ids, pads, strict=True)):
        count = sum(1 for _ in run)
        yield from [f"{token}x{count}"] if pad else [str(token)] * count
