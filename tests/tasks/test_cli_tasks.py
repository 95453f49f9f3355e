"""The verbs `validate` and `fetch`: reports and exit codes, folders that are read without a network."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.cli import app, tasks_command
from harness.core.records import Status, Verdict
from tasks.base import Hub
from tasks.support.proof import Failure, Report
from tests.tasks.conftest import Write, png

PLUGIN = '''"""Numbers whose own rule is {how}."""

from harness.core.records import Answer, AnswerType, Example
from tasks.base import Task, task, user


def official(answer, response, extracted=None):
    """The rule under test."""
    return {rule}, "x", "rule"


@task.register("{key}")
class Numbers(Task):
    """Numbers."""

    files = {{"test": "numbers.jsonl"}}

    def parse(self, row, item):
        gold = Answer(type=AnswerType.INTEGER, golds=(row["answer"],))
        return Example(id=item, task=self.name, messages=user("?"), answer=gold, rule=f"{{__name__}}:official")
'''


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = app.main([str(w) for w in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"id": f"n{i}", "answer": str(17 + i)} for i in range(4)]
    (folder / "numbers.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


def _plugin(folder: Path, key: str, rule: str) -> Path:
    file = folder / f"{key.replace('-', '_')}.py"
    file.write_text(PLUGIN.format(how=key, rule=rule, key=key))
    return file


@pytest.mark.parametrize(
    ("key", "rule", "code", "said"),
    [
        ("rule-right", "response.strip().endswith(f'{{{answer.golds[0]}}}.')", 0, ["rule-right-test: ok", "4 items"]),
        (
            "rule-yes",
            "True",
            1,
            ["rule-yes-test: FAILED", "0 golds not graded CORRECT", "and 38 more", "one more, official"],
        ),
        ("rule-no", "False", 1, ["rule-no-test: FAILED", "4 golds not graded CORRECT, 0 other", "item n0, gold"]),
    ],
)
def test_a_task_proves_itself_or_the_exit_code_is_1(
    key: str,
    rule: str,
    code: int,
    said: list[str],
    numbers: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A rule that accepts all, and one that accepts nothing, are found, and named with the item."""
    words = ["validate", "--task", key, "--plugin", _plugin(tmp_path, key, rule), "--data-dir", f"{key}={numbers}"]
    found, out, _ = call(capsys, *words)
    assert found == code, out
    for text in said:
        assert text in out


def test_several_tasks_each_get_a_report(capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    code, out, _ = call(capsys, "validate", "--task", "aime24,aime25", "--data-dir", shared / "math")
    assert code == 0 and [line for line in out.splitlines() if not line.startswith(" ")] == [
        "aime24-test: ok",
        "aime25-test: ok",
    ]


def test_a_report_says_what_is_known_to_be_wrong() -> None:
    report = Report("t", items=3, golds=2, answers=9, ungradeable=["7"], guessed=Counter({"empty": 2}), refused=["4"])
    report.reasons["deadline"] = 1
    text = "\n".join(tasks_command.lines(report))
    assert "t: ok" in text and "never graded: 1 (7)" in text and "lenient rule: empty 2" in text
    assert "refused by the authors' rule (known): 1 (4)" in text and "by reason: deadline 1" in text
    verdict = Verdict(status=Status.CORRECT, protocol="strict", reason="match", extracted="1")
    report.failures = [Failure(str(i), "empty", "strict", "", verdict) for i in range(12)]
    text = "\n".join(tasks_command.lines(report))
    assert "t: FAILED" in text and "12 other answers graded CORRECT: empty 12" in text and "and 2 more" in text
    nothing = "\n".join(tasks_command.lines(Report("t", items=1, ungradeable=["7"])))
    assert "t: FAILED" in nothing and "nothing was proved" in nothing


def test_a_fetched_folder_is_read_by_data_dir(
    tmp_path: Path,
    parquet: Write,
    quiet_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import tasks.geometry3k

    rows = [{"images": [png((i, 0, 0))], "problem": f"<image>{i}", "answer": str(i + 2)} for i in range(3)]
    parquet(tmp_path / "repo" / "data" / "test-00000-of-00001.parquet", rows)
    monkeypatch.setattr(tasks.geometry3k.Geometry3k, "hub", {"test": Hub(str(tmp_path / "repo"), "test")})
    out = tmp_path / "out"
    code, said, _ = call(capsys, "fetch", "--task", "geometry3k-test", "--to", out)
    assert code == 0 and said.splitlines() == [
        f"{out}/test-00000-of-00001.parquet",
        f"{out}/source.json",
        f"read it with: --task geometry3k-test --data-dir {out}",
    ]
    monkeypatch.undo()
    assert call(capsys, "validate", "--task", "geometry3k-test", "--data-dir", out)[0] == 0
    code, _, err = call(capsys, "fetch", "--task", "gsm8k", "--to", out)
    assert code == 2 and "holds geometry3k-test: give gsm8k a folder of its own" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["validate", "--task", "math50"], "unknown task 'math50'"),
        (["validate", "--task", "math500", "--data-dir", "/no/folder"], "no folder /no/folder"),
        (["validate"], "Missing option '--task'"),
        (["fetch", "--task", "arithmetic", "--to", "x"], "arithmetic-test is generated: nothing has to be fetched"),
        (["fetch", "--task", "math500", "--to", "FILE"], "is a file"),
        (["fetch", "--task", "math500"], "Missing option '--to'"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("")
    code, _, err = call(capsys, *words)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err, err
