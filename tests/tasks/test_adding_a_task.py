"""docs/adding-a-task.md does what it says: its file is a task, its proof passes, its rule runs in the workers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.records import Status
from harness.core.registry import load_plugin
from tasks.base import task
from tasks.resolve import resolve

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-task.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["jsonl", "python", "python"]
    for name, (_, text) in zip(("units.jsonl", "units.py", "proof.py"), blocks, strict=True):
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    task._classes.pop("units", None)
    task._origins.pop("units", None)
    sys.modules.pop("rlfr_plugin_units", None)


def test_the_page_does_what_it_says(folder: Path) -> None:
    load_plugin(folder / "units.py")
    examples = resolve("units", folder).load()
    assert [e.id for e in examples] == ["u1", "u2", "u3"] and {e.task for e in examples} == {"units-test"}
    assert [e.answer.golds for e in examples] == [("250",), ("180",), ("A",)]
    exec(compile((folder / "proof.py").read_text(), "proof.py", "exec"), {})


def test_its_rule_runs_in_the_workers(folder: Path) -> None:
    from rewards.verifier.jobs import Job
    from rewards.verifier.pool import Verifier

    load_plugin(folder / "units.py")
    example = resolve("units", folder).load()[0]
    with Verifier(workers=1, plugins=[str(folder / "units.py")]) as verifier:
        jobs = [
            Job(answer=example.answer, response=r, protocols=("official",), rule=example.rule)
            for r in ("so\n252 cm", "260")
        ]
        verdicts = [v["official"] for v in verifier.verify(jobs)]
    assert [(v.status, v.extracted) for v in verdicts] == [(Status.CORRECT, "252"), (Status.INCORRECT, "260")]


def test_the_pages_file_without_code(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "units.jsonl").read_text().splitlines()][:2]
    (folder / "numbers.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert [e.answer.golds for e in resolve(f"file:{folder}/numbers.jsonl:integer").load()] == [("250",), ("180",)]


def test_what_the_page_names_exists() -> None:
    text = PAGE.read_text("utf-8")
    for name in re.findall(r"\b(?:tests|tasks)/[\w/]+\.py\b", text):
        assert (PAGE.parents[1] / name).is_file(), name
