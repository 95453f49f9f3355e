"""Every task module: importing does no work, files are short, and the task proves itself on the data at hand."""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import DataError
from harness.core.records import Answer, AnswerType, Status, Verdict
from tasks.base import Task, task
from tasks.resolve import resolve
from tasks.support import proof
from tests.tasks.conftest import SHARED, Write
from tests.tasks.rows import ROWS

TASKS = Path(proof.__file__).parents[1]
FILES = {f.stem.replace("_", "-") for f in TASKS.glob("*.py")}
KEYS = sorted(FILES.intersection(task.keys()))
FOLDERS = {"mathvista": "mathvista", "mathvision": "mathvision", "mathverse": "mathverse", "wemath": "wemath",
           "logicvista": "logicvista"}  # fmt: skip
HEAVY = ("torch", "transformers", "datasets", "PIL", "sympy", "math_verify", "pyarrow", "numpy", "pandas")


def at_hand(key: str) -> Iterator[Task]:
    """Every split that needs no network: generated ones (the test split stands for all) and those of ../shared/data."""
    cls = task.get(key)
    for split in cls.splits:
        found = cls(split, None if cls.generated else SHARED / FOLDERS.get(key, "math"))
        if cls.generated:
            yield found
            return
        if any(next(iter(sorted((SHARED / FOLDERS.get(key, "math")).glob(n))), None) for n in found.local_names()):
            yield found


class Inline:
    """The verifier's grading without its processes."""

    def submit(self, job: Any) -> Future[dict[str, Verdict]]:
        from rewards.verifier.grade import grade

        future: Future[dict[str, Verdict]] = Future()
        future.set_result(grade(job))
        return future


@pytest.fixture(scope="module")
def verifier() -> Iterator[Any]:
    from rewards.verifier.pool import Verifier

    with Verifier() as pool:
        yield pool


def test_importing_every_task_opens_nothing_and_loads_nothing_heavy() -> None:
    modules = [f"tasks.{f.stem}" for f in sorted(TASKS.glob("*.py"))]
    code = f"""
import socket, sys, builtins
def closed(*a, **k): raise OSError("network is closed")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = closed
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
import importlib
for name in {modules!r}:
    importlib.import_module(name)
heavy = [m for m in {HEAVY!r} if m in sys.modules]
assert not heavy, heavy
data = [str(o) for o in opened if str(o).endswith((".jsonl", ".parquet", ".json", ".arrow", ".png", ".zip"))]
assert not data, data
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=TASKS.parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", KEYS)
def test_a_task_is_one_short_file_with_its_facts(key: str) -> None:
    module = importlib.import_module(f"tasks.{key.replace('-', '_')}")
    lines = Path(module.__file__ or "").read_text("utf-8").splitlines()
    cls = task.get(key)
    assert len(lines) <= 150, f"{len(lines)} lines"
    assert cls.key == key and cls.version >= 1 and cls.modality in ("language", "multimodal") and cls.licence
    assert cls.generated or cls.hub, "no source"
    for split, source in cls.hub.items():
        assert split in cls.splits and source.repository.count("/") == 1
        assert source.revision is None or len(source.revision) == 40


@pytest.mark.parametrize("key", KEYS)
def test_the_task_proves_itself(key: str, monkeypatch: pytest.MonkeyPatch, verifier: Any) -> None:
    splits = list(at_hand(key))
    if not splits:
        pytest.skip(f"no data of {key} at {SHARED}")
    for found in splits:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", _closed)
            patch.setattr(socket.socket, "connect", _closed)
            examples = found.load()
        report = proof.validate(found, examples[:: max(1, len(examples) // 40)], verifier)
        assert report.ok, "\n".join(map(str, report.failures[:20]))
        for example in examples:
            assert example.task == found.name and example.question.strip()
            assert set(found.categories) >= set(example.metadata) & set(found.categories)


@pytest.mark.parametrize("name", ROWS)
def test_the_task_proves_itself_on_rows_in_the_hubs_columns(name: str, tmp_path: Path, parquet: Write) -> None:
    """Also where no data is at hand: the same proof on rows that are made up in the source's columns."""
    declared = resolve(name)
    parquet(tmp_path / "data" / f"{declared.hub[declared.split].split}-00000-of-00001.parquet", ROWS[name])
    found = resolve(name, tmp_path)
    report = proof.validate(found, found.load() * 8, Inline())
    assert report.ok and report.items == 8 * len(ROWS[name]), "\n".join(map(str, report.failures[:20]))


def _closed(*_: object, **__: object) -> None:
    raise OSError("network is closed")


class _Says:
    """A verifier that gives every response the same verdict."""

    def __init__(self, status: Status) -> None:
        self.status = status

    def submit(self, job: Any) -> Future[dict[str, Verdict]]:
        future: Future[dict[str, Verdict]] = Future()
        future.set_result({p: Verdict(status=self.status, protocol=p, reason="said") for p in job.protocols})
        return future


@pytest.mark.parametrize("status", list(Status))
def test_a_verifier_that_says_one_thing_to_all_fails_the_proof(status: Status) -> None:
    found = resolve("arithmetic")
    report = proof.validate(found, found.load()[:20], _Says(status))
    kinds = {failure.kind for failure in report.failures}
    assert not report.ok
    assert ("gold" in kinds) == (status is not Status.CORRECT)
    assert ("empty" in kinds and "one more" in kinds) == (status is Status.CORRECT)


def test_an_empty_gold_is_reported_not_graded() -> None:
    found = resolve("arithmetic")
    example = found.load()[0]
    from dataclasses import replace

    empty = replace(example, answer=Answer(type=AnswerType.CHOICE, golds=()))
    report = proof.validate(found, [empty, example], Inline())
    assert report.ungradeable == [example.id] and report.ok


def test_without_data_there_is_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"math500-test: .* has none of math500\.jsonl"):
        resolve("math500", tmp_path).load()


def test_golds_that_an_own_rule_refuses_are_counted(shared: Path) -> None:
    """Only the listed ones, and each of them: a list that is no longer true would hide a defect."""
    found = task.get("mathvision")("test", shared / "mathvision")
    listed = [e for e in found.load() if e.id in found.refuses]
    report = proof.validate(found, listed, Inline())
    assert report.ok and report.refused == list(found.refuses)
