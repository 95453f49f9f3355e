"""Items per second of the verifier against plain math_verify (`parse` + `verify`), paired in one run on one core.

Inputs: the recorded MATH-V responses and long reasoning texts (2k, 8k and 32k characters) made from the language golds.
Ours runs as it does in an evaluation: jobs through `Verifier(workers=1)`, so pipes and processes are in the time. Both sides
and the worker are pinned to one core. Golds are warm (each side has seen every gold once with another answer), answers are
cold. Rounds alternate between the two; the figure is the median of the paired ratios.

    python benchmarks/verifier.py [--data ../shared/data] [--limit 600] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.core.records import Answer, AnswerType
from rewards.verifier.jobs import Job
from rewards.verifier.pool import Verifier
from tasks.resolve import resolve

LENGTHS = (2_000, 8_000, 32_000)
FILLER = (
    "Let us set $x_{0} = 3$ and look at the next step: since $\\frac{a}{b} = 2$, we have $a = 2b$ and the area $A = \\pi r^2$. "
    "Wait, let me check this again: $12 \\cdot 7 = 84$, so the total would be 84 + 16 = 100. Hmm, that is not what was asked. "
)


def long_texts(folder: Path, length: int) -> list[Job]:
    """A right and a wrong response for every second-type gold, padded with reasoning to `length` characters."""
    jobs = []
    golds: list[tuple[AnswerType, str]] = []
    for name, kind in (("math500", AnswerType.EXPRESSION), ("aime24", AnswerType.INTEGER)):
        for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines():
            golds.append((kind, str(json.loads(line)["answer"])))
    filler = FILLER * (length // len(FILLER) + 1)
    for number, (kind, gold) in enumerate(golds):
        said = gold if number % 2 else f"{golds[(number + 1) % len(golds)][1]}"
        jobs.append(
            Job(
                answer=Answer(type=kind, golds=(gold,)),
                response=f"{filler[:length]}\nThe answer is $\\boxed{{{said}}}$.",
            )
        )
    return jobs


def recorded(folder: Path, name: str) -> list[Job]:
    by_id = {e.id: e for e in resolve("mathvision", folder).load()}
    lines = (folder / "recorded" / f"{name}.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Job(answer=by_id[r["id"]].answer, response=r["response"]) for r in rows]


def plain(jobs: Sequence[Job]) -> float:
    """Seconds of math_verify on these jobs; golds parsed once beforehand, as ours are."""
    from math_verify import parse, verify

    golds = {g: parse(f"${g}$", parsing_timeout=None) for g in {j.answer.golds[0] for j in jobs}}
    start = time.perf_counter()
    for job in jobs:
        verify(golds[job.answer.golds[0]], parse(job.response))
    return time.perf_counter() - start


def ours(pool: Verifier, jobs: Sequence[Job]) -> float:
    start = time.perf_counter()
    pool.verify(jobs)
    return time.perf_counter() - start


def paired(jobs: Sequence[Job], rounds: int) -> tuple[float, float, float]:
    """(our items a second, theirs, median ratio); a fresh worker per round keeps answers cold."""
    found = []
    for _ in range(rounds):
        with Verifier(workers=1) as pool:
            pool.verify([Job(answer=j.answer, response="\\boxed{-987654321 y}") for j in jobs])
            mine = ours(pool, jobs)
        found.append((len(jobs) / mine, len(jobs) / plain(jobs)))
    ratios = [a / b for a, b in found]
    return statistics.median(a for a, _ in found), statistics.median(b for _, b in found), statistics.median(ratios)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    arguments.add_argument("--limit", type=int, default=600, help="items per set")
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sets: dict[str, Callable[[], list[Job]]] = {}
    for file in sorted((options.data / "mathvision" / "recorded").glob("*.jsonl")):
        sets[f"MATH-V {file.stem}"] = lambda name=file.stem: recorded(options.data / "mathvision", name)  # type: ignore[misc]
    for length in LENGTHS:
        sets[f"reasoning of {length} characters"] = lambda n=length: long_texts(options.data / "math", n)  # type: ignore[misc]
    print("| set | items | ours, items/s | math_verify, items/s | ratio |\n|---|---|---|---|---|")
    for name, load in sets.items():
        jobs = load()
        jobs = jobs[:: max(1, len(jobs) // options.limit)]
        mine, theirs, ratio = paired(jobs, options.rounds)
        print(f"| {name} | {len(jobs)} | {mine:.0f} | {theirs:.0f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
