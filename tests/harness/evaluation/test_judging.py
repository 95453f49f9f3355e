"""A judge in `score`: off unless asked for, checked first, beside the rules' verdicts and never in their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from harness.core.errors import ConfigError, VerifierError
from harness.core.records import Side, Status, Verdict
from harness.evaluation import judging
from harness.evaluation.score import ScoreOptions, score
from tests.harness.fakes import Exact
from tests.rewards.verifier.test_judge import Handler, address  # noqa: F401

NAME = "accuracy_with_judge[tester, prompt 1]"
GOLDS = ("4", "1/2", "a blue whale", "7", "9")
ANSWERS = ("open 4", "open 0.5", "open cat", "7", "lost")
PLUGIN = '''
from typing import ClassVar
from harness.core.records import Answer, AnswerType, Example
from tasks.base import Task, task, user

def official(answer, response, extracted=None):
    """Only a judge can say."""
    return (None, response, "needs_judge") if response.startswith("a") else (response in answer.golds, response, "own")

@task.register("animals")
class Animals(Task):
    """Animals."""
    files: ClassVar = {"test": "animals.jsonl"}
    columns = ("question", "answer")

    def parse(self, row, item):
        answer = Answer(type=AnswerType.TEXT, golds=(row["answer"],))
        return Example(id=item, task=self.name, messages=user(row["question"]), answer=answer, rule=f"{__name__}:official")
'''


class Opens(Exact):
    """Leaves "open X" to a judge, with X as the answer; "lost" is a worker that was lost."""

    def _verdict(self, job: Any, protocol: str) -> Verdict:
        word, _, answer = job.response.partition(" ")
        if word in ("open", "lost"):
            return Verdict(
                status=Status.UNGRADED,
                protocol=protocol,
                reason="needs_judge" if answer else "worker_lost",
                extracted=answer or None,
                side=Side.INSTRUMENT,
            )
        return super()._verdict(job, protocol)


Run = Callable[..., tuple[dict[str, Any], dict[str, dict[str, Any]]]]


@pytest.fixture
def run(tmp_path: Path, address: str) -> Iterator[Run]:  # noqa: F811
    """Scores ANSWERS against GOLDS; returns results and samples by id."""
    Handler.mode, Handler.failures_left = "good", 0
    Handler.seen.clear()
    rows = [{"problem": f"Question {i}?", "answer": g} for i, g in enumerate(GOLDS)]
    lines(tmp_path / "data" / "math500.jsonl", rows)
    lines(tmp_path / "answers.jsonl", [{"id": i, "response": a} for i, a in enumerate(ANSWERS)])
    plain = ScoreOptions(
        task="math500", responses=tmp_path / "answers.jsonl", out=tmp_path / "out", data_dir=tmp_path / "data"
    )

    def go(judge: bool = True, **fields: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        chosen = judging.JudgeOptions(url=address, model="tester") if judge else None
        results = score(replace(plain, judge=chosen, force=True, **fields), verifier=Opens())  # type: ignore[arg-type]
        return results, {r["id"]: r for r in map(json.loads, (tmp_path / "out/samples.jsonl").read_text().splitlines())}

    yield go


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_nobody_is_asked_unless_a_judge_is_named(run: Run) -> None:
    results, found = run(judge=False)
    assert Handler.seen == [] and "judge" not in results
    assert not any(name.startswith("accuracy_with_judge") for name in results["metrics"])
    assert not any("judge" in row["verdicts"] for row in found.values())


def test_the_judge_stands_beside_and_the_headline_stays(run: Run) -> None:
    plain, before = run(judge=False)
    results, found = run()
    rules = {k: v for k, v in results["metrics"].items() if k != NAME}
    assert rules == plain["metrics"] and results["headline"] is plain["headline"] is False
    assert (results["metrics"]["accuracy"]["value"], results["ungraded"]) == (1 / 5, 4)
    judged = results["metrics"][NAME]
    assert (judged["value"], judged["n"], judged["ungraded"]) == (3 / 5, 5, 1)
    assert {k: judged[k] for k in ("judged", "correct", "incorrect", "failed")} == {
        "judged": 3,
        "correct": 2,
        "incorrect": 1,
        "failed": 0,
    }
    assert results["judge"] == {"model": "tester", "prompt": 1}
    assert {i: row["verdicts"]["judge"]["status"] for i, row in found.items() if "judge" in row["verdicts"]} == {
        "0": "correct",
        "1": "correct",
        "2": "incorrect",
    }
    same = ("verdict", "reason", "extracted", "side", "protocol", "response")
    assert all(row[k] == before[i][k] for i, row in found.items() for k in same)
    asked = [json.loads(call["messages"][1]["content"]) for call in Handler.seen[5:]]
    assert sorted(a["candidate's final answer"] for a in asked) == ["0.5", "4", "cat"], "5 checks, then the open ones"
    assert {a["question"] for a in asked} == {"Question 0?", "Question 1?", "Question 2?"}


def test_what_the_judge_fails_to_say_stays_ungraded_and_is_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = judging.checked

    def then_breaks(chosen: judging.JudgeOptions | None) -> Any:
        judge = checked(chosen)
        Handler.mode = "talks"
        return judge

    monkeypatch.setattr(judging, "checked", then_breaks)
    results, found = run()
    judged = results["metrics"][NAME]
    assert (judged["value"], judged["failed"], judged["ungraded"]) == (1 / 5, 3, 4)
    assert found["0"]["verdicts"]["judge"]["reason"] == "judge_failed"


@pytest.mark.parametrize("mode", ["broken", "agrees", "talks"])
def test_a_judge_that_fails_its_check_stops_before_anything_is_graded(
    run: Run, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Handler.mode = mode
    monkeypatch.setattr("rewards.verifier.judge.time.sleep", lambda seconds: None)
    with pytest.raises(VerifierError, match="leave the judge out"):
        run()
    assert not (tmp_path / "out").exists()


def test_the_strict_protocol_is_judged_by_its_own_verdicts(run: Run) -> None:
    assert run(protocol="strict")[0]["metrics"][NAME]["value"] == 3 / 5


def test_half_of_the_flags_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judging.options(None, None, None) is None
    for flags in ((None, "m", None), (None, None, "KEY"), ("http://localhost:1/v1", None, None)):
        with pytest.raises(ConfigError, match="--judge"):
            judging.options(*flags)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        judging.checked(judging.options("http://localhost:1/v1", "m", "NO_SUCH_KEY"))


def test_an_answer_of_the_caps_and_a_stopped_verifier_are_not_judged() -> None:
    def never(system: str, user: str) -> str:
        raise AssertionError("asked")

    judge = judging.Judge(never, "m")
    for side, reason in ((Side.ANSWER, "deadline"), (Side.INSTRUMENT, "worker_lost")):
        open_ = Verdict(status=Status.UNGRADED, protocol="official", reason=reason, side=side, extracted="4")
        verdicts = {"official": open_, "strict": open_}
        assert judging.beside(judge, None, verdicts, "official") == verdicts  # type: ignore[arg-type]
    stopped: Future[dict[str, Verdict]] = Future()
    stopped.set_exception(VerifierError("gone", "make a new one"))
    with judging.asking(judge, "strict") as ask, pytest.raises(VerifierError, match="gone"):
        ask(None, stopped).result()  # type: ignore[arg-type]


def test_from_the_command_line(
    tmp_path: Path,
    address: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Handler.mode = "good"
    Handler.seen.clear()
    monkeypatch.setenv("TEST_JUDGE_KEY", "secret")
    plugin = tmp_path / "zoo.py"
    plugin.write_text(PLUGIN)
    lines(tmp_path / "data" / "animals.jsonl", [{"question": "Largest?", "answer": "a blue whale"}] * 2)
    answers = lines(tmp_path / "a.jsonl", [{"id": 0, "response": "a cat"}, {"id": 1, "response": "blue whale"}])
    words = ["score", "--task", "animals", "--responses", answers, "--data-dir", tmp_path / "data", "--plugin", plugin]
    words += ["--out", tmp_path / "out", "--judge", address, "--judge-model", "tester"]
    assert app.main([str(w) for w in [*words, "--judge-key-variable", "TEST_JUDGE_KEY"]]) == 0
    capsys.readouterr()
    metrics = json.loads((tmp_path / "out/results.json").read_text())["metrics"]
    assert metrics["accuracy"]["ungraded"] == 1 and metrics[NAME]["ungraded"] == 0
    assert (metrics[NAME]["judged"], metrics[NAME]["incorrect"]) == (1, 1)
    assert {call["key"] for call in Handler.seen} == {"Bearer secret"} and len(Handler.seen) == 6
    assert app.main([str(w) for w in [*words[:-2]]]) == 2
    assert "--judge needs --judge-model" in capsys.readouterr().err
