"""No hostile answer is graded CORRECT, ends a worker, holds up its neighbours or makes a worker grow."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.records import Answer, AnswerType, Status
from rewards.verifier import Reason
from rewards.verifier.jobs import Job
from rewards.verifier.pool import Verifier
from tests.rewards.verifier.corpus import BOXED, RAW, responses

GOLDS = (
    Answer(type=AnswerType.EXPRESSION, golds=(r"\frac{\sqrt{3}}{7}",)),
    Answer(type=AnswerType.EXPRESSION, golds=("x^2+3x-6",)),
    Answer(type=AnswerType.EXPRESSION, golds=("y=2x+3",)),
    Answer(type=AnswerType.EXPRESSION, golds=(r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}",)),
    Answer(type=AnswerType.EXPRESSION, golds=("(2,5)",)),
    Answer(type=AnswerType.INTEGER, golds=("204",)),
    Answer(type=AnswerType.FLOAT, golds=("2.37",), precision=2),
    Answer(type=AnswerType.CHOICE, golds=("C",), choices=("1.5", "2.5", "3.5", "4.5")),
    Answer(type=AnswerType.LIST, golds=("3", "5")),
    Answer(type=AnswerType.TEXT, golds=("blue",)),
)
RIGHT = Job(answer=Answer(type=AnswerType.EXPRESSION, golds=("2k+2",)), response=r"\boxed{2(k+1)}")
DEADLINE = 5.0


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, deadline=DEADLINE) as pool:
        pool.verify([RIGHT])
        yield pool


def test_the_corpus_is_large() -> None:
    assert len(BOXED) + len(RAW) >= 60


def test_corpus(verifier: Verifier) -> None:
    """Every kind against every type of gold, with a right answer behind each kind."""
    jobs, names = [], []
    for kind, response in responses().items():
        for gold in GOLDS:
            jobs.append(Job(answer=gold, response=response, protocols=("official", "strict", "audit")))
            names.append(kind)
        jobs.append(RIGHT)
        names.append("neighbour")
    start = time.monotonic()
    found = verifier.verify(jobs)
    seconds = time.monotonic() - start
    verdicts = [(n, v) for n, f in zip(names, found, strict=True) for v in f.values()]
    hostile = [(n, v) for n, v in verdicts if n != "neighbour"]
    assert [n for n, v in hostile if v.status is Status.CORRECT] == []
    assert [(n, v.reason) for n, v in hostile if v.reason in (Reason.WORKER_LOST, Reason.RULE_FAILED)] == []
    assert all(v.status is Status.CORRECT for n, v in verdicts if n == "neighbour")
    late = [n for n, v in hostile if v.reason == Reason.DEADLINE]
    assert len(set(late)) <= 3, late
    assert seconds < 60


LATEX = (
    r"\boxed{ } { ( ) [ ] ^ _ \frac{1}{2} \sqrt{2} \sum_{k=1}^{n} 9^{9^{9}} 7! \binom{9}{4} x y e i \pi = < , ; : & \\ \le \cup"
    r" \pm \text{ $ % ####"
)
WORDS = "answer The final is 0 1 7 . - + * / ' \" <answer> </answer> </think> A (C) \x00 \u202e \ud83d １ √ ² π ∞"
FRAGMENTS = [*LATEX.split(" "), *WORDS.split(" ")]


@given(
    st.lists(
        st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=6)), max_size=14).map("".join),
        min_size=20,
        max_size=20,
    )
)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_generated_answers(verifier: Verifier, texts: list[str]) -> None:
    golds = (
        Answer(type=AnswerType.EXPRESSION, golds=(r"\frac{31415 x}{926535+y^{7}}",)),
        Answer(type=AnswerType.INTEGER, golds=("926535897",)),
        Answer(type=AnswerType.TEXT, golds=("an unlikely sentence",)),
    )
    jobs = [Job(answer=g, response=r) for t in texts for g in golds for r in (f"\\boxed{{{t}}}", f"The answer is {t}")]
    for job, found in zip(jobs, verifier.verify(jobs), strict=True):
        verdict = found["strict"]
        assert verdict.status is not Status.CORRECT, job.response
        assert verdict.reason not in (Reason.WORKER_LOST, Reason.RULE_FAILED, Reason.GOLD_UNPARSEABLE), job.response


def memory(pool: Verifier) -> int:
    """Resident memory of the only worker in MiB."""
    process = pool._lanes[0].process
    assert process is not None
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024


def expression(draw: random.Random) -> str:
    terms = [
        f"{draw.randint(1, 99)}x^{{{draw.randint(2, 9)}}}",
        rf"\sqrt{{{draw.randint(2, 999)}}}",
        rf"\frac{{{draw.randint(1, 99)}}}{{y+{draw.randint(1, 9)}}}",
        rf"{draw.randint(1, 99)}\pi",
    ]
    return draw.choice("+-").join(draw.sample(terms, draw.randint(1, 4)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_stays_bounded_over_ten_thousand_items() -> None:
    draw = random.Random(0)
    with Verifier(workers=1, deadline=DEADLINE) as pool:
        sizes, process = [], None
        for _ in range(10):
            jobs = []
            for number in range(1000):
                gold = expression(draw) if number % 20 == 0 else str(draw.randint(0, 10**6))
                text = expression(draw) if number % 10 == 0 else str(draw.randint(0, 10**9)) * draw.randint(1, 40)
                jobs.append(
                    Job(answer=Answer(type=AnswerType.EXPRESSION, golds=(gold,)), response=rf"\boxed{{{text}}}")
                )
            pool.verify(jobs)
            sizes.append(memory(pool))
            process = process or pool._lanes[0].process
        assert pool._lanes[0].process is process
    assert sizes[-1] < 200
    assert sizes[-1] - sizes[2] < 40, sizes
