"""The one builder of samples, their readers, and the log that they are appended to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Self

from harness.core.clock import SESSIONS, Clock
from harness.core.errors import RunError
from harness.core.files import JsonlWriter, read_log
from harness.core.records import SCHEMA, AnswerType, Example, Sample, Side, Status, Verdict
from harness.core.runs import SAMPLES
from harness.rollout.loop import Graded


def gold_text(example: Example) -> str:
    """The gold as one line: elements of a list by commas, alternatives by bars."""
    return (", " if example.answer.type is AnswerType.LIST else " | ").join(example.answer.golds)


def to_sample(graded: Graded, protocol: str, **extra: Any) -> Sample:
    """One line of a log, of training and of evaluation alike.

    protocol: whose verdict is the headline. extra: further fields of Sample (categories, rewards, step).
    """
    example, rollout, head = graded.example, graded.rollout, graded.verdicts[protocol]
    patches = graded.prompt.patches if graded.prompt else None
    return Sample(
        id=example.id,
        sample_index=rollout.sample_index,
        task=example.task,
        response=rollout.text,
        gold=gold_text(example),
        verdict=head.status,
        extracted=head.extracted,
        reason=head.reason,
        protocol=protocol,
        side=head.side,
        verdicts={name: _verdict(v) for name, v in graded.verdicts.items()},
        finish=rollout.finish.value,
        tokens=len(rollout.token_ids),
        note=example.note,
        question=example.question,
        image_sha256=patches.sha256 if patches else "",
        policy_version=rollout.policy_version,
        seconds=round(sum(v.seconds for v in graded.verdicts.values()), 6),
        **extra,
    )


def _verdict(verdict: Verdict) -> dict[str, Any]:
    side = verdict.side.value if verdict.side else None
    return {"status": verdict.status.value, "extracted": verdict.extracted, "reason": verdict.reason, "side": side}


def read_sample(row: Mapping[str, Any]) -> Sample:
    """A Sample from its line. Raises RunError for a line of another schema."""
    known = {f.name for f in fields(Sample)}
    if row.get("schema") != SCHEMA or not set(row) <= known:
        raise RunError(f"a sample has schema {row.get('schema')}, this version reads {SCHEMA}", "evaluate it again")
    side = Side(row["side"]) if row.get("side") else None
    return Sample(**{**row, "verdict": Status(row["verdict"]), "side": side})


def with_protocol(sample: Sample, protocol: str) -> Sample:
    """The same sample with another protocol's verdict as the headline."""
    chosen = sample.verdicts[protocol]
    return replace(
        sample,
        protocol=protocol,
        verdict=Status(chosen["status"]),
        extracted=chosen["extracted"],
        reason=chosen["reason"],
        side=Side(chosen["side"]) if chosen.get("side") else None,
    )


def regraded(sample: Sample, verdicts: Mapping[str, Verdict], protocol: str) -> Sample:
    """The same response with new verdicts; the logged outcome component follows the strict one."""
    seconds = round(sum(v.seconds for v in verdicts.values()), 6)
    rewards = {**sample.rewards, "outcome": float(verdicts["strict"].correct)}
    named = {name: _verdict(v) for name, v in verdicts.items()}
    return with_protocol(replace(sample, verdicts=named, rewards=rewards, seconds=seconds), protocol)


class SampleLog:
    """The samples of one evaluation, in memory and, with a folder, in samples.jsonl as they are added.

    Opening a folder reads what an earlier process wrote; `done` holds (id, sample index) of it. `seconds` counts the wall
    time of all processes that worked on the folder, not the time between them, and `spent`, what its samples cost elsewhere.
    """

    def __init__(self, folder: Path | None, spent: float = 0.0) -> None:
        self.folder = folder
        self.samples: list[Sample] = []
        self.done: set[tuple[str, int]] = set()
        self._clock = Clock(folder and folder / SESSIONS, folder and folder / SAMPLES, spent)
        self._writer: JsonlWriter | None = None
        if folder is not None:
            self._open(folder)

    def _open(self, folder: Path) -> None:
        log = folder / SAMPLES
        self._writer = JsonlWriter(log)  # opening drops a torn line, before the log is read
        for row in read_log(log):
            sample = read_sample(row)
            if (sample.id, sample.sample_index) not in self.done:
                self._keep(sample)

    @property
    def seconds(self) -> float:
        return self._clock.seconds

    def _keep(self, sample: Sample) -> None:
        self.samples.append(sample)
        self.done.add((sample.id, sample.sample_index))

    def add(self, sample: Sample) -> None:
        """Append one sample. Adding one twice is a defect and raises RunError."""
        if (sample.id, sample.sample_index) in self.done:
            raise RunError(
                f"item {sample.id} sample {sample.sample_index} came twice", "report the engine that was used"
            )
        if self._writer is not None:
            self._writer.append(asdict(sample))
        self._keep(sample)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
