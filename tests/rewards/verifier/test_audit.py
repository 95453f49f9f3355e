"""The second checker: right and wrong by other means than the strict rule, and the rate at which the two part."""

from __future__ import annotations

import math

import pytest

from harness.core.records import Answer, AnswerType, Status, Verdict
from rewards.verifier import audit
from rewards.verifier.answers import compare, numeric
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job

VALUES = [
    ("1+2*3^2", 19),
    (r"\frac{3}{4}-\frac14", None),
    ("2(3+4)", 14),
    ("-2^2", -4),
    ("2^{-1}", 0.5),
    ("5!/3!", 20),
    (r"\binom{6}{2}", 15),
    (r"\sqrt{2}\sqrt{8}", 4),
    (r"\sqrt[3]{27}", 3),
    (r"\sin^2 2+\cos^2 2", 1),
    (r"\log_{2}8", 3),
    (r"\ln e^2", 2),
    ("1,000.5", 1000.5),
    (r"3\pi", 3 * math.pi),
    (r"\lfloor 7/2\rfloor", 3),
    (r"|3-5|", 2),
    (r"50\%", 0.5),
    ("6/2/3", 1),
    (r"12\div 4\cdot 3", 9),
    ("1:4", 0.25),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(numeric.UnreadableError):
            numeric.parse(text)
        return
    assert complex(numeric.at(numeric.parse(text), {})) == pytest.approx(value, rel=1e-12)


def test_names_and_what_has_no_value() -> None:
    parsed = numeric.parse(r"\frac{t}{RC}-\theta_1")
    assert parsed.names == ("C", "R", "\\theta_1", "t")
    slash = numeric.parse(r"t/RC-\theta_1")
    at = {"C": 2.5 + 0j, "R": 3 + 0j, "t": 7 + 0j, "\\theta_1": 1 + 0j}
    assert numeric.at(parsed, at) == pytest.approx(numeric.at(slash, at))
    for text in (
        r"\frac{1}{0}",
        r"9^{9^{9}}",
        r"(10^{9})!",
        r"\sum_{k=1}^{9}k",
        "x^",
        "(",
        "2 3",
        "x" * 700,
        "(" * 500 + "1" + ")" * 500,
    ):
        with pytest.raises(numeric.UnreadableError):
            numeric.at(numeric.parse(text), {"k": 1 + 0j})


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("2k+2", "2(k+1)", True),
        ("x^2-1", "(x-1)(x+1)", True),
        ("x+1", "x+2", False),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", False),
        ("1-1/e", "1+1/e", False),
        ("(1,2)", "3", None),
    ],
)
def test_equality_by_values(left: str, right: str, same: bool | None) -> None:
    assert compare.equal(left, right) is same
    if same:
        assert not compare.differ(left, right)


def test_doubtful_readings_are_left_to_the_symbolic_check() -> None:
    # written alike on paper, read differently by a simple parser
    for left, right in (
        (r"1/2x", r"\frac{x}{2}"),
        (r"\sin 2x y", r"y\sin{2x}"),
        (r"\lceil n/2\rceil", r"\lfloor (n+1)/2\rfloor"),
    ):
        assert not compare.differ(left, right)


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        (Answer(type=AnswerType.INTEGER, golds=("204",)), "204 cm", True),
        (Answer(type=AnswerType.INTEGER, golds=("204",)), r"204\pi", None),
        (Answer(type=AnswerType.FLOAT, golds=("2.37",), precision=2), "2.3712", True),
        (Answer(type=AnswerType.CHOICE, golds=("C",), choices=("1", "2", "3")), r"\text{(C)}", True),
        (Answer(type=AnswerType.CHOICE, golds=("C",), choices=("1", "2", "3")), "2", False),
        (Answer(type=AnswerType.LIST, golds=("3", "5")), "[3, 5]", True),
        (Answer(type=AnswerType.TEXT, golds=("Blue",)), r"\text{blue}", True),
        (Answer(type=AnswerType.EXPRESSION, golds=("2k+2",)), "2(k+1)", True),
        (Answer(type=AnswerType.EXPRESSION, golds=("2k+2",)), "2k+3", False),
        (Answer(type=AnswerType.EXPRESSION, golds=("1", "2k+2")), "2(k+1)", True),
    ],
)
def test_opinions(answer: Answer, text: str, right: bool | None) -> None:
    assert audit.opinion(answer, text) is right
    found = grade(Job(answer=answer, response=rf"\boxed{{{text}}}", protocols=("strict", "audit")))["audit"]
    assert found.status is {True: Status.CORRECT, False: Status.INCORRECT, None: Status.UNGRADED}[right]


def test_the_rate_counts_disagreements_among_items_with_an_opinion() -> None:
    def said(strict: Status, second: Status) -> dict[str, Verdict]:
        return {p: Verdict(status=s, protocol=p, reason="") for p, s in (("strict", strict), ("audit", second))}

    right, wrong, none = Status.CORRECT, Status.INCORRECT, Status.UNGRADED
    items = [
        ("a", said(right, right)),
        ("b", said(right, wrong)),
        ("c", said(wrong, none)),
        ("d", said(wrong, wrong)),
        ("e", said(wrong, wrong)),
    ]
    found = audit.tally([*items, ("f", {"strict": said(right, right)["strict"]})])
    assert found.metrics() == {"value": 0.25, "n": 4, "audited": 5, "disagreements": 1}
    assert found.disagreements == ["b"]
    assert audit.tally([]).rate is None


def test_the_sample_depends_on_the_item_alone() -> None:
    picked = [str(n) for n in range(4000) if audit.chosen(str(n), 0.1)]
    assert picked == [str(n) for n in range(4000) if audit.chosen(str(n), 0.1)]
    assert 320 < len(picked) < 480
    assert not any(audit.chosen(str(n), 0.0) for n in range(100)) and all(audit.chosen(str(n), 1.0) for n in range(100))
