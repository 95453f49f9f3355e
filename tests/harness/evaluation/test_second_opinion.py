"""The audited share of an evaluation, the name under which golds are kept, and logs that no response can break."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.records import Finish, Rollout, Status, Verdict
from harness.evaluation.metrics import wilson
from harness.evaluation.score import ScoreOptions, score
from harness.pipeline.journal import Journal
from harness.rollout.grading import submit, ungraded
from harness.rollout.loop import Graded
from harness.rollout.samples import SampleLog, to_sample
from rewards.verifier import audit
from rewards.verifier.pool import Verifier
from tests.harness.evaluation.test_evaluate import go, items
from tests.harness.fakes import Exact, example

ODD = "half a character \ud800, a line \u2028 and a page\x0c \udfff end \u0085."


class Disputes(Exact):
    """The second opinion on "2" is that it is wrong."""

    def _verdict(self, job: Any, protocol: str) -> Verdict:
        if protocol == audit.PROTOCOL and job.response == "2":
            return Verdict(status=Status.INCORRECT, protocol=protocol, reason="mismatch")
        return super()._verdict(job, protocol)


def test_the_audited_share_is_a_metric_and_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(audit, "SHARE", 0.0)
    plain = go(items(60), verifier=Disputes())
    monkeypatch.setattr(audit, "SHARE", 0.5)
    verifier = Disputes()
    results = go(items(60), verifier=verifier, folder=tmp_path)
    found = results["metrics"].pop("audit_disagreement")
    assert plain["metrics"].pop("audit_disagreement")["n"] == 0
    assert results["metrics"] == plain["metrics"] and results["by_category"] == plain["by_category"]
    picked = [str(i) for i in range(60) if audit.chosen(str(i), 0.5)]
    parted = [i for i in picked if int(i) % 3 == 2]
    assert found == {
        "value": len(parted) / len(picked),
        "n": len(picked),
        "audited": len(picked),
        "disagreements": len(parted),
        "ci95": list(wilson(len(parted), len(picked))),
        "share": 0.5,
        "items": found["items"],
    }
    assert sorted(found["items"]) == sorted(parted) and 0 < len(parted) < len(picked) < 60
    second = [j for j in verifier.jobs if j.protocols == ("audit",)]
    assert len(second) == len(picked) and len(verifier.jobs) == 60 + len(picked), "an opinion is a job of its own"
    (log,) = tmp_path.glob("*/samples.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(r["id"] for r in rows if "audit" in r["verdicts"]) == sorted(picked)


def test_golds_are_kept_per_task_version() -> None:
    verifier = Exact()
    go(items(2), verifier=verifier, task_version=3)
    assert {j.task for j in verifier.jobs} == {"toy-test v3"}


def test_a_failure_of_the_verifier_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "SHARE", 1.0)

    class Fails(Exact):
        which = ""

        def _verdict(self, job: Any, protocol: str) -> Verdict:
            if protocol == self.which:
                raise MemoryError("no room")
            return super()._verdict(job, protocol)

    for which in ("strict", "audit"):
        verifier = Fails()
        verifier.which = which
        with pytest.raises(MemoryError, match="no room"):
            submit(verifier, example("1"), "1", task="t v1", finish="stop").result(timeout=5)


def test_a_response_of_half_characters_breaks_no_log(tmp_path: Path) -> None:
    rollout = Rollout(prompt_id="1", sample_index=0, token_ids=(1,), logprobs=(0.0,), finish=Finish.STOP, text=ODD)
    item = example("1")
    graded = Graded(item, rollout, ungraded("x"))
    with SampleLog(tmp_path / "log") as log:
        log.add(to_sample(graded, "strict"))
    with SampleLog(tmp_path / "log") as again:
        (sample,) = again.samples
        assert sample.response == ODD.replace("\ud800", "?").replace("\udfff", "?") and again.done == {("1", 0)}


def test_a_training_log_takes_them_too_and_rewinds_by_lines(tmp_path: Path) -> None:
    rollout = Rollout(prompt_id="1", sample_index=0, token_ids=(1,), logprobs=(0.0,), finish=Finish.STOP, text=ODD)
    verdict = Verdict(status=Status.CORRECT, protocol="strict", reason="match", extracted=ODD)
    batch = SimpleNamespace(
        examples=[example("1")],
        rollouts=[rollout],
        verdicts=[verdict],
        prompts=[SimpleNamespace(patches=None)],
        components=[{"outcome": 1.0}],
    )
    journal = Journal(tmp_path, rollouts=False)
    for step in (1, 2, 3):
        journal.step({"step": step}, batch, None, ())  # type: ignore[arg-type]
    journal.rewind(2)
    rows = [json.loads(line) for line in journal.samples.read_text("utf-8").split("\n") if line]
    assert [r["step"] for r in rows] == [1, 2] and rows[0]["response"].startswith("half a character ?")


def test_odd_responses_are_scored_and_audited_by_the_real_verifier(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(audit, "SHARE", 1.0)
    (tmp_path / "data").mkdir()
    golds = ("7", "2^{1009}", "\\frac{1}{2}")
    answers = (ODD + "\\boxed{7}", "\\boxed{2^{1009}+987654}", "\\boxed{0.5}" + ODD)
    data: dict[str, list[dict[str, Any]]] = {
        "data/math500.jsonl": [{"problem": "Q?", "answer": g} for g in golds],
        "answers.jsonl": [{"id": i, "response": a} for i, a in enumerate(answers)],
    }
    for name, content in data.items():
        (tmp_path / name).write_text("".join(json.dumps(r) + "\n" for r in content))
    options = ScoreOptions(
        task="math500", responses=tmp_path / "answers.jsonl", out=tmp_path / "out", data_dir=tmp_path / "data"
    )
    with Verifier(workers=1) as verifier:
        results = score(options, verifier=verifier)
    rows = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_bytes().splitlines()]
    assert [r["verdict"] for r in rows] == ["correct", "incorrect", "correct"]
    assert [r["verdicts"]["audit"]["status"] for r in rows] == ["correct", "incorrect", "correct"]
    found = results["metrics"]["audit_disagreement"]
    assert (found["value"], found["n"], found["items"]) == (0.0, 3, [])
    assert set(results["metrics"]["protocols"]) == {"official", "strict"}
