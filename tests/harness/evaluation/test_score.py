"""Scoring recorded responses: ids of every kind, several samples, missing items, kill and resume, the same every time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import DataError, RlfrEvalError, RunError
from harness.evaluation.score import ScoreOptions, score
from rewards.verifier.pool import Verifier
from tasks.resolve import resolve

ROOT = Path(__file__).resolve().parents[3]
TASK = "math500"
Grade = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]
GOLDS = ("\\frac{1}{2}", "7", "x+1", "12", "100", "3")


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    """One verifier for the whole module: its workers take seconds to start."""
    with Verifier(workers=2) as found:
        yield found


@pytest.fixture
def grade(tmp_path: Path, data: Path, verifier: Verifier) -> Grade:
    """Score lines against the six rows; returns results.json and the samples."""

    def run(rows: Sequence[dict[str, Any] | str], **fields: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        out = fields.pop("out", tmp_path / "out")
        answers = write(tmp_path / "answers.jsonl", rows)
        results = score(ScoreOptions(task=TASK, responses=answers, out=out, data_dir=data, **fields), verifier=verifier)
        return results, samples(out)

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six rows without an id column, in the layout of the suites; they are numbered from 0."""
    folder = tmp_path / "data"
    write(
        folder / "math500.jsonl",
        [{"problem": f"Question {i}?", "answer": g, "level": i % 2 + 1} for i, g in enumerate(GOLDS)],
    )
    return folder


def write(path: Path, rows: Sequence[dict[str, Any] | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def right(item: int) -> str:
    return f"So it is $\\boxed{{{GOLDS[item]}}}$."


def samples(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


def test_one_of_each(tmp_path: Path, grade: Grade) -> None:
    rows: list[dict[str, Any] | str] = [
        {"id": "0", "response": right(0), "model": "ignored"},
        {"id": 1, "response": "\\boxed{8}"},
        {"id": 2, "response": ""},
        "",
        {"id": 3, "response": right(3)},
        {"id": "4", "response": None},
    ]
    results, written = grade(rows)
    assert [(r["id"], r["verdict"], r["gold"]) for r in written] == [
        ("0", "correct", GOLDS[0]),
        ("1", "incorrect", "7"),
        ("2", "incorrect", "x+1"),
        ("3", "correct", "12"),
        ("4", "incorrect", "100"),
        ("5", "ungraded", "3"),
    ]
    assert written[1]["extracted"] == "8" and written[2]["reason"] == "no_answer"
    assert (written[5]["reason"], written[5]["side"]) == ("no_response", "instrument")
    assert results["n"] == 6 and results["ungraded"] == 1 and results["headline"] is False
    assert results["metrics"]["accuracy"]["value"] == pytest.approx(2 / 6) and results["protocol"] == "official"
    assert results["by_category"]["level"]["1"]["n"] == 3
    assert results == json.loads((tmp_path / "out" / "results.json").read_text())


def test_several_lines_of_an_id_are_its_samples(tmp_path: Path, grade: Grade) -> None:
    rows = [{"id": i, "response": right(i) if k < i else "\\boxed{0}"} for k in range(4) for i in range(6)]
    results, written = grade(rows)
    assert results["samples"] == 24 and results["n"] == 6
    assert [r["sample_index"] for r in written if r["id"] == "3"] == [0, 1, 2, 3]
    assert results["metrics"]["accuracy"]["value"] == pytest.approx((0 + 1 + 2 + 3 + 4 + 4) / 24)
    assert results["metrics"]["pass@k"]["4"] == pytest.approx(5 / 6)


def test_limit_and_ids_choose_items_and_ignore_other_responses(tmp_path: Path, grade: Grade) -> None:
    rows = [{"id": i, "response": right(i)} for i in range(6)]
    assert grade(rows, limit=2)[0]["n"] == 2
    results, written = grade(rows, force=True, ids=("4", "1"))
    assert [r["id"] for r in written] == ["1", "4"] and results["metrics"]["accuracy"]["value"] == 1.0
    with pytest.raises(DataError, match="--ids names item '9'"):
        grade(rows, force=True, ids=("9",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": "x"}, "line 2 has no id"),
        ({"id": 77, "response": "x"}, "answers item '77', which math500-test does not have"),
        ({"id": 1, "reply": "x"}, "line 2 has no column 'response'.*--response-field"),
        ("{broken", "line 2 is not JSON"),
        ("[1]", "line 2 is no object"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, grade: Grade, row: dict[str, Any] | str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        grade([{"id": 0, "response": right(0)}, row])
    assert not (tmp_path / "out" / "results.json").exists()


def test_response_and_extraction_columns(tmp_path: Path, grade: Grade) -> None:
    rows = [{"id": i, "reply": "no mark at all", "found": GOLDS[i]} for i in range(6)]
    results, _ = grade(rows, response_field="reply", extracted_field="found")
    assert results["metrics"]["protocols"]["official"]["value"] == 1.0
    assert results["metrics"]["protocols"]["strict"]["value"] == 0.0, "strict reads the reply itself"
    with pytest.raises(DataError, match="lacks column 'fund'"):
        grade(rows, response_field="reply", extracted_field="fund")


def test_scoring_twice_gives_the_same(tmp_path: Path, grade: Grade) -> None:
    rows = [{"id": i, "response": right(i) if i % 2 else "\\boxed{5}"} for i in range(6)]
    first, again = (grade(rows, out=tmp_path / name) for name in ("a", "b"))
    assert (tmp_path / "a/results.json").read_bytes() == (tmp_path / "b/results.json").read_bytes()
    assert [{**r, "seconds": 0} for r in first[1]] == [{**r, "seconds": 0} for r in again[1]]


def test_a_finished_result_of_other_content_is_never_replaced_unasked(tmp_path: Path, grade: Grade) -> None:
    wrong = [{"id": i, "response": "\\boxed{0}"} for i in range(6)]
    better = [{"id": i, "response": right(i)} for i in range(6)]
    first = grade(wrong, label="mine")[0]
    assert first["run"]["label"] == "mine"
    assert grade(wrong, label="renamed")[0]["run"]["label"] == "renamed", "a name is no content"
    with pytest.raises(RunError, match=r"the finished result of other responses.*--force"):
        grade(better)
    assert samples(tmp_path / "out")[0]["verdict"] == "incorrect", "nothing was touched"
    results, written = grade(better, force=True)
    assert results["metrics"]["accuracy"]["value"] == 1.0 and len(written) == 6
    (tmp_path / "out" / "score.json").unlink()
    with pytest.raises(RunError, match="did not write"):
        grade([{"id": 0, "response": right(0)}])


def test_our_own_log_is_scored_to_the_same(tmp_path: Path, grade: Grade) -> None:
    """samples.jsonl of an evaluation is a file of responses; truncated and over-long samples stay what they were."""
    rows = [{"id": i, "response": right(i)} for i in range(4)]
    _, first = grade(rows)
    first[0].update(finish="length", tokens=9, response="and so on")
    first[1].update(finish="prompt_too_long", response="")
    _, again = grade(first, out=tmp_path / "again")
    assert (again[0]["reason"], again[0]["tokens"]) == ("truncated", 9)
    assert (again[1]["verdict"], again[1]["reason"]) == ("ungraded", "prompt_too_long")
    assert again[2]["verdict"] == "correct"


def test_kill_9_and_again(tmp_path: Path, verifier: Verifier) -> None:
    """A process that scores 400 responses is killed in the middle; the next one keeps every line and finishes."""
    folder = tmp_path / "data"
    write(folder / "math500.jsonl", [{"problem": "?", "answer": str(i)} for i in range(400)])
    answers = write(tmp_path / "a.jsonl", [{"id": i, "response": f"\\boxed{{{i % 390}}}"} for i in range(400)])
    words = ["score", "--task", TASK, "--data-dir", str(folder), "--responses", str(answers), "--out"]
    code = (
        "import sys, time, harness.rollout.samples as s; from harness.cli.app import main; add = s.SampleLog.add\n"
        "def slow(self, sample):\n    time.sleep(0.005); add(self, sample)\n"
        "s.SampleLog.add = slow; main(sys.argv[1:])"
    )
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", code, *words, str(out)], cwd=ROOT, stderr=subprocess.DEVNULL)
    log = out / "samples.jsonl"
    deadline = time.monotonic() + 60
    while not (log.is_file() and log.read_bytes().count(b"\n") >= 20):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = log.read_bytes().rpartition(b"\n")[0]
    assert kept.count(b"\n") < 399 and not (out / "manifest.json").exists()
    options = ScoreOptions(task=TASK, responses=answers, out=out, data_dir=folder)
    results = score(options, verifier=verifier)
    assert log.read_bytes().startswith(kept)
    assert [r["id"] for r in samples(out)] == [str(i) for i in range(400)]
    assert results["metrics"]["accuracy"]["value"] == pytest.approx(390 / 400)


def test_generated_task_needs_no_data(tmp_path: Path, verifier: Verifier) -> None:
    examples = resolve("arithmetic").load()[:3]
    answers = write(
        tmp_path / "a.jsonl", [{"id": e.id, "response": f"\\boxed{{{e.answer.golds[0]}}}"} for e in examples]
    )
    results = score(
        ScoreOptions(task="arithmetic", responses=answers, out=tmp_path / "out", limit=3), verifier=verifier
    )
    assert results["metrics"]["accuracy"]["value"] == 1.0 and results["n"] == 3


def test_missing_file_and_folder(tmp_path: Path, data: Path) -> None:
    with pytest.raises(RlfrEvalError, match=r"cannot read .*nothing\.jsonl"):
        score(ScoreOptions(task=TASK, responses=tmp_path / "nothing.jsonl", out=tmp_path / "out", data_dir=data))
    with pytest.raises(DataError, match="no such folder"):
        score(ScoreOptions(task=TASK, responses=tmp_path / "x", out=tmp_path / "out", data_dir=tmp_path / "gone"))


@pytest.mark.parametrize(
    ("model", "items"), [("gpt4-cot-text", 500), ("internlm-xcomposer2-vl-cot", 500), ("qwen-vl-plus", 3040)]
)
def test_published_verdicts_of_math_vision(
    tmp_path: Path, shared_data: Path, verifier: Verifier, model: str, items: int
) -> None:
    """The published runs, graded by the benchmark's own rule: the authors' verdict item by item."""
    recorded = shared_data / "mathvision" / "recorded" / f"{model}.jsonl"
    folder = shared_data / "mathvision"
    options = ScoreOptions(task="mathvision", responses=recorded, out=tmp_path, data_dir=folder, limit=items)
    results = score(options, verifier=verifier)
    published = {r["id"]: r["correct"] for r in map(json.loads, recorded.read_text().splitlines())}
    ours = {r["id"]: r["verdict"] == "correct" for r in samples(tmp_path)}
    assert results["n"] == len(ours) == items
    assert sum(ours[i] == published[i] for i in ours) / items >= 0.995
    assert abs(results["metrics"]["accuracy"]["value"] - sum(published[i] for i in ours) / items) <= 0.003
