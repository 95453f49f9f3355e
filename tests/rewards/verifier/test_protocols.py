"""Protocols by name: each gives the verdicts that were measured with the grader whose name it bears."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.core.errors import ConfigError, UnknownNameError
from harness.core.records import Answer, AnswerType, Status
from rewards.verifier import protocols
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job
from rewards.verifier.pool import Verifier
from tasks.resolve import resolve
from tasks.support.golds import choice

MEASURED = """
25|025|1111 ; 336|336^\\circ|1110 ; 4.5\\times10^{33}|4.5e33|0000 ; 4.5e33|4.5e33|1011 ; 7,5,3|3, 5, 7|1100
(3,2),(1,1)|(1,1), (3,2)|1100 ; 2,4|(2,4)|1111 ; (2,5)|[2,5]|0011 ; 2\\le x\\le5|[2,5]|0000 ; 2x|f(x)=2 x|1100
1|k=1|1111 ; 1\\frac12|3/2|1100 ; 0.333333|1/3|1111 ; 0.3333|1/3|0011 ; 0.33|1/3|0000 ; 1.6001|1.6|0011
50\\%|1/2|1100 ; 50\\%|50|1111 ; 0.5|50\\%|1111 ; 10 m|10|1110 ; 90|90^\\circ|1110 ; \\text{Evelyn}|\\text{Evelyn}|1110
1000|1{,}000|1100 ; 52|52_8|1100 ; 0.70711|\\frac{\\sqrt2}{2}|0011 ; \\pi|3.14159265|1100 ; eighteen|18|0011 ; 18 dollars|18|0000
"""
"""answer|gold|accepted by RLFR's release, math-verify, Qwen2.5-Math, and the last in its minerva mode: measured with the graders
themselves (public facts, see the protocols' files)."""
ROWS = [tuple(part.strip().split("|")) for line in MEASURED.strip().splitlines() for part in line.split(";")]
COLUMNS = (
    ("rlfr-release", "math500"),
    ("math-verify", "math500"),
    ("qwen-math", "math500"),
    ("qwen-math", "minerva-test"),
)


def status(protocol: str, gold: str, response: str, task: str = "math500") -> Status:
    answer = Answer(type=AnswerType.EXPRESSION, golds=(gold,))
    return grade(Job(answer=answer, response=response, protocols=(protocol,), task=task))[protocol].status


@pytest.mark.parametrize("column", range(4))
def test_measured_verdicts(column: int) -> None:
    protocol, task = COLUMNS[column]
    wrong = []
    for said, gold, accepted in ROWS:
        if protocol == "math-verify" and said == gold == "4.5e33":
            continue  # measured without the library's comparison of the strings, which its defaults make
        found = status(protocol, gold, f"The final answer is \\boxed{{{said}}}.", task)
        if (found is Status.CORRECT) != (accepted[column] == "1"):
            wrong.append((said, gold, accepted[column]))
    assert not wrong


@pytest.mark.parametrize(
    ("protocol", "gold", "response", "right"),
    [
        ("qwen-math", "18", "So she has 3 * 6 = 18 dollars left", True),
        ("qwen-math", "204", "\\boxed{2.04}", True),
        ("qwen-math", "5", "<think>the answer is 5", True),
        ("qwen-math", "-2", "Final Answer: The final answer is $-2$. I hope it is correct.", True),
        ("qwen-math", "18", "nothing", False),
        ("rlfr-release", "18", "the answer is 18", False),
        ("rlfr-release", "18", "\\boxed{17} or \\boxed{18}", True),
        ("rlfr-release", "\\frac{1}{2}", "\\boxed{\\frac{2}{4}}", True),
        ("strict", "18", "So she has 18 left", False),
    ],
)
def test_what_counts_as_marked(protocol: str, gold: str, response: str, right: bool) -> None:
    assert (status(protocol, gold, response) is Status.CORRECT) is right


@pytest.mark.parametrize(
    ("response", "right"),
    [("a 3, then 1,250.", True), ("#### 1250", True), ("$1,250", True), ("1250 of 7", False), ("none", False)],
)
def test_lm_eval_takes_the_last_number(response: str, right: bool) -> None:
    answer = Answer(type=AnswerType.INTEGER, golds=("1250",))
    found = grade(Job(answer=answer, response=response, protocols=("lm-eval-flexible",)))["lm-eval-flexible"]
    assert (found.status is Status.CORRECT) is right


def test_mmmu_2023_draws_nothing_at_random() -> None:
    verdicts = [
        grade(Job(answer=choice("B", ("x", "y")), response=text, protocols=("mmmu-2023",)))["mmmu-2023"]
        for text in ("(B)", "I pick A here", "no idea at all")
    ]
    assert [v.status for v in verdicts] == [Status.CORRECT, Status.INCORRECT, Status.UNGRADED]
    assert verdicts[-1].reason == "random_draw"


def test_names_are_checked_before_work_begins(shared_data: Path) -> None:
    assert protocols.parse("official, strict,qwen-math,official") == ("official", "strict", "qwen-math")
    with pytest.raises(UnknownNameError, match="qwen-math"):
        protocols.parse("qwen-maths")
    with pytest.raises(ConfigError, match="empty name"):
        protocols.parse("official,,strict")
    math, vista = resolve("math500", shared_data / "math"), resolve("mathvista", shared_data / "mathvista")
    protocols.check(("official", "strict", *NAMED), math)
    for name in ("qwen-math", "lm-eval-flexible", "math-verify", "rlfr-release", "mmmu-2023"):
        with pytest.raises(ConfigError, match="cannot grade mathvista-testmini"):
            protocols.check((name,), vista)


NAMED: Sequence[str] = ("qwen-math", "lm-eval-flexible", "math-verify", "rlfr-release")


def test_every_protocol_says_what_it_counts_and_where_that_is_known_from() -> None:
    for name in sorted(protocols.protocol.keys()):
        kind = protocols.protocol.get(name)
        assert kind.about and kind.source and kind.version >= 1 and kind.key == name


def test_a_slow_reply_ends_only_the_grader_that_it_holds_up() -> None:
    """math-verify may take its own time limits; the worker that it holds up beyond them is replaced, others go on."""
    tower = "\\boxed{9^{9^{9^{9^{9}}}}}"
    answer = Answer(type=AnswerType.EXPRESSION, golds=("7",))
    with Verifier(workers=1) as verifier:
        slow = verifier.submit(Job(answer=answer, response=tower, protocols=("math-verify",), seconds=2.0))
        fine = verifier.submit(Job(answer=answer, response="\\boxed{7}", protocols=("official", "strict")))
        assert {v.status for v in fine.result().values()} == {Status.CORRECT}
        assert slow.result()["math-verify"].status is not Status.CORRECT
