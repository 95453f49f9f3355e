"""Parsed golds outlive the worker that parsed them, and a broken file costs nothing but time."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from harness.core.records import Answer, AnswerType
from rewards.verifier import cache
from rewards.verifier.answers import symbolic
from rewards.verifier.jobs import Job
from rewards.verifier.pool import Verifier

GOLDS = [rf"\sqrt[{n}]{{x}}+\frac{{1}}{{\sqrt{{7}}+y}}" for n in range(3, 7)]
ANSWERS = [rf"\frac{{1}}{{y+\sqrt7}}+\sqrt[{n}]{{x}}" for n in range(3, 7)]


def jobs(task: str) -> list[Job]:
    return [
        Job(answer=Answer(type=AnswerType.EXPRESSION, golds=(gold,)), response=rf"\boxed{{{answer}}}", task=task)
        for gold, answer in zip(GOLDS, ANSWERS, strict=True)
    ]


def test_golds_are_kept_per_task_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLFR_EVAL_CACHE", str(tmp_path))
    with Verifier(workers=1) as pool:
        first = pool.verify(jobs("made-up-test v1"))
    (file,) = (tmp_path / "golds").iterdir()
    assert file.name.startswith("made-up-test_v1-") and cache.versions() in file.name
    kept = cache.Golds("made-up-test v1").entries
    assert set(kept) == set(GOLDS)
    assert symbolic.same(kept[GOLDS[0]], symbolic.read(ANSWERS[0].replace(r"\sqrt7", r"\sqrt{7}")))
    with Verifier(workers=1) as pool:
        second = pool.verify(jobs("made-up-test v1"))
    assert all(found["strict"].correct for found in [*first, *second])


def test_what_is_kept_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLFR_EVAL_CACHE", str(tmp_path))
    # an entry planted for another expression shows in the verdict
    gold, other = r"\sqrt[3]{y}+1", r"\sqrt[3]{x}+1"
    planted = cache.Golds("planted")
    planted.put(gold, symbolic.read(other))
    planted.save(1)
    answer = Answer(type=AnswerType.EXPRESSION, golds=(gold,))
    with Verifier(workers=1) as pool:
        found = pool.verify(
            [Job(answer=answer, response=r"\boxed{1+\sqrt[3]{x}}", task=t) for t in ("planted", "clean")]
        )
    assert [f["strict"].correct for f in found] == [True, False]


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), b"\x80\x04cno_such_module\nThing\n."])
def test_a_broken_file_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    golds = cache.Golds("t", tmp_path)
    golds.file.parent.mkdir(parents=True, exist_ok=True)
    golds.file.write_bytes(content)
    again = cache.Golds("t", tmp_path)
    assert again.entries == {}
    again.put("x", 1)
    again.save(1)
    assert cache.Golds("t", tmp_path).entries == {"x": 1}


def test_two_workers_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    one, two = cache.Golds("t", tmp_path), cache.Golds("t", tmp_path)
    one.put("a", 1)
    two.put("b", 2)
    one.save(1)
    two.save(1)
    assert cache.Golds("t", tmp_path).entries == {"a": 1, "b": 2}
    assert [f.name for f in tmp_path.iterdir()] == [one.file.name]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    golds = cache.Golds("t", tmp_path / "file")
    golds.put("a", 1)
    golds.save(1)
    assert golds.get("a") == 1
