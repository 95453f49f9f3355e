"""Agreement of our verdicts with the verdicts that were published beside recorded responses, file by file.

Each recording is graded from its raw responses under the protocols that can be compared with it; `--differences FILE` writes
every response on which a protocol and the record part, to be read. Nothing is generated and nothing is downloaded.

    python benchmarks/agreement.py [--data ../shared/data] [--only mathvista] [--differences differences.jsonl]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.records import Answer, AnswerType, Example, Status, Verdict
from harness.rollout.grading import submit
from rewards.verifier.pool import Verifier
from tasks.resolve import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A file of recorded responses. `task` and `folder` give the golds; `skip` names a column whose true rows are left out."""

    file: str
    task: str
    folder: str
    protocols: tuple[str, ...]
    verdict: str = "correct"
    response: str = "response"
    skip: str = ""


_GSM8K = {"task": "gsm8k", "folder": "recorded/_data/gsm8k"}
_MATH500 = {
    "task": "math500",
    "folder": "recorded/_data/math500",
    "protocols": ("qwen-math", "official", "strict", "math-verify"),
}
_LOGIC = {"task": "logicvista", "folder": "logicvista", "protocols": ("official", "strict")}
_VISTA = {"task": "mathvista", "folder": "mathvista", "protocols": ("official", "strict")}
_VISION = {"task": "mathvision", "folder": "mathvision", "protocols": ("official", "strict")}
_VISTAS = ("bard", "gpt4-2shot-solution", "llava-llama-2-13b")
_VISIONS = ("gpt4-cot-text", "internlm-xcomposer2-vl-cot", "qwen-vl-plus")

RECORDINGS = (
    Recording(file="recorded/gsm8k/openai-6b_finetuning.jsonl", protocols=("official", "strict"), **_GSM8K),
    Recording(file="recorded/gsm8k/abel-7b.jsonl", protocols=("qwen-math", "lm-eval-flexible", "official"), **_GSM8K),
    Recording(file="recorded/gsm8k/rho-math-7b-v0.1.jsonl", protocols=("qwen-math", "lm-eval-flexible", "official"), **_GSM8K),
    Recording(file="recorded/gsm8k/tora-code-34b-v1.0.jsonl", protocols=("qwen-math", "lm-eval-flexible", "official"), **_GSM8K),
    Recording(file="recorded/math500/rho-math-1b-interpreter-v0.1.jsonl", **_MATH500),
    Recording(file="recorded/math500/rho-math-7b-v0.1.jsonl", **_MATH500),
    Recording(file="recorded/math/qwen-math_cot_100.jsonl", **{**_MATH500, "folder": "recorded/_data/qwen100"}),
    Recording(file="recorded/mmmu/qwen_vl.jsonl", task="mmmu", folder="recorded/_data/mmmu",
              protocols=("mmmu-2023", "official", "strict"), skip="random"),
    Recording(file="recorded/mmmu_pro/gpt-4o_vision_cot.jsonl", task="mmmu-pro", folder="",
              protocols=("official", "mmmu-2023", "strict"), skip="random"),
    Recording(file="logicvista/recorded/gpt4.jsonl", response="answer", verdict="", **_LOGIC),
    Recording(file="recorded/logicvista/LLAVA7B.jsonl", **_LOGIC),
    Recording(file="recorded/logicvista/otter9B.jsonl", **_LOGIC),
    *(Recording(file=f"mathvista/recorded/{name}.jsonl", verdict="true_false", **_VISTA) for name in _VISTAS),
    Recording(file="recorded/mathvista/claude.jsonl", **_VISTA),
    *(Recording(file=f"mathvision/recorded/{name}.jsonl", **_VISION) for name in _VISIONS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded response with its example, the recorded verdict and ours by protocol."""

    item: str
    response: str
    example: Example
    recorded: bool
    verdicts: Mapping[str, Verdict]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]


def examples(recording: Recording, rows: Sequence[Mapping[str, Any]], data: Path) -> dict[str, Example]:
    """The items that a recording answers; MMMU-Pro's golds and options stand in the recording itself."""
    if recording.folder:
        return {e.id: e for e in resolve(recording.task, data / recording.folder).load()}
    return {
        r["id"]: Example(
            id=r["id"],
            task=recording.task,
            messages=(),
            answer=Answer(type=AnswerType.CHOICE, golds=(r["gt"],), choices=tuple(r["options"])),
            rule="tasks.mmmu:official",
        )
        for r in rows
    }


def grade(recording: Recording, data: Path, verifier: Verifier) -> list[Row]:
    """Verdicts of every response of a recording, in its order."""
    rows = lines(data / recording.file)
    known = examples(recording, rows, data)
    waiting = []
    for row in rows:
        if recording.skip and row[recording.skip]:
            continue
        item = str(row.get("id", row.get("pid")))
        said = row[recording.response] or ""
        right = row[recording.verdict] if recording.verdict else _exact(known[item], said)
        graded = submit(verifier, known[item], said, task=recording.task, finish="", protocols=recording.protocols)
        waiting.append((item, said, known[item], bool(right), graded))
    return [
        Row(item, said, example, right, {p: v for p, v in graded.result().items() if p in recording.protocols})
        for item, said, example, right, graded in waiting
    ]


def _exact(example: Example, said: str) -> bool:
    """Where a recording holds letters and no verdict: the reply is the gold."""
    return bool(example.answer.golds) and said.strip() == example.answer.golds[0]


def agreement(rows: Sequence[Row], protocol: str) -> tuple[int, int]:
    """(responses on which the protocol's verdict is the recorded one, right by the protocol)."""
    right = [row.verdicts[protocol].status is Status.CORRECT for row in rows]
    return sum(r == row.recorded for r, row in zip(right, rows, strict=True)), sum(right)


def differences(recording: Recording, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Every response on which a protocol and the record part."""
    for row in rows:
        for protocol, verdict in row.verdicts.items():
            if (verdict.status is Status.CORRECT) != row.recorded:
                yield {
                    "file": recording.file,
                    "protocol": protocol,
                    "id": row.item,
                    "recorded": row.recorded,
                    "gold": row.example.answer.golds,
                    "choices": row.example.answer.choices,
                    "extracted": verdict.extracted,
                    "reason": verdict.reason,
                    "response": row.response,
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--only", default="")
    parser.add_argument("--differences", type=Path)
    options = parser.parse_args()
    found = []
    print("| recording | items | recorded right | protocol | right | agree |\n|---|---|---|---|---|---|")
    with Verifier() as verifier:
        for recording in RECORDINGS:
            if options.only not in recording.file:
                continue
            rows = grade(recording, options.data, verifier)
            found += differences(recording, rows)
            for place, protocol in enumerate(recording.protocols):
                agree, right = agreement(rows, protocol)
                recorded = sum(row.recorded for row in rows)
                left = f"| {recording.file} | {len(rows)} | {recorded} " if not place else "| | | "
                print(f"{left}| {protocol} | {right} | {agree} = {100 * agree / len(rows):.2f} % |", flush=True)
    if options.differences:
        options.differences.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), "utf-8")


if __name__ == "__main__":
    main()
