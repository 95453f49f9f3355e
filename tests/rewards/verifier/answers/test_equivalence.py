"""The strict rule on known pairs: what is right in another spelling, and what only looks right."""

from __future__ import annotations

import pytest

from harness.core.records import Answer, AnswerType, Side, Status
from rewards.verifier import Reason
from rewards.verifier.answers import equivalence
from rewards.verifier.grade import clusters, grade
from rewards.verifier.jobs import ClusterJob, Job

EXPR, INT, FLOAT, LIST, TEXT, CHOICE = (
    AnswerType.EXPRESSION,
    AnswerType.INTEGER,
    AnswerType.FLOAT,
    AnswerType.LIST,
    AnswerType.TEXT,
    AnswerType.CHOICE,
)


def verdict(gold: str | tuple[str, ...], answer: str, kind: AnswerType = EXPR, **facts):
    golds = (gold,) if isinstance(gold, str) else gold
    return grade(Job(answer=Answer(type=kind, golds=golds, **facts), response=rf"so \boxed{{{answer}}}."))["strict"]


SAME_VALUE = [
    (r"\frac{14}{3}", "14/3"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"),
    ("x=5", "5"),
    ("5", "x=5"),
    (r"\text{Evelyn}", "Evelyn"),
    ("52_8", "52_{8}"),
    (r"\$18.90", "18.90"),
    (r"\$18.90", r"\$18.9"),
    (r"(0,9) \cup (9,36)", r"(9,36)\cup(0,9)"),
    ("[2,5]", r"2\le x\le5"),
    (r"(5,\infty)", "x>5"),
    (r"(5,\infty)", "5<x"),
    (r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}", r"\begin{bmatrix}-1&0\\0&-1\end{bmatrix}"),
    ("3, 5, 7", "7,5,3"),
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
    (r"\{1\pm\sqrt{5},-2\}", r"-2,1-\sqrt5,1+\sqrt5"),
    (r"10,\!080", "10080"),
    (r"10,\!080", "10,080"),
    (r"\$32,\!348", "32348"),
    (r"\$32,\!348", r"\$32,348"),
    (r"90^\circ", "90"),
    (r"90^\circ", "90 degrees"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}"),
    (r"1\frac{4}{5}", "9/5"),
    (r"1\frac{4}{5}", "1.8"),
    (r"137 \frac{1}{2}", "137.5"),
    (".0000672", r"6.72\times10^{-5}"),
    (r"\text{(B)}", "B"),
    (r"\text{even}", "even"),
    ("2k+2", "2(k+1)"),
    ("6+9i", "9i+6"),
    ("x^3+3x-6", "x^3 + 3x - 6"),
    ("y = 2x + 3", "2x-y+3=0"),
    ("y = 2x + 3", "2x+3"),
    (r"\sqrt{51}", "√51"),
    (r"8\pi", "8π"),
    ("1/3", "0.333333"),
    (r"\pi", "3.14159265"),
    (r"50\%", "0.5"),
    ("1/2", r"50\%"),
    ("50", r"50\%"),
    ("$f(x)=2 x$", "2x"),
    ("$f(n)=n$", "f(x)=x"),
    (r"$k \geqslant 2$", r"[2,\infty)"),
    ("$69$,$84$", "84,69"),
    ("(1,1), (3,2)", "(3,2),(1,1)"),
    ("4.5e33", r"4.5\times10^{33}"),
    ("2,4", "2 and 4"),
    ("3/2", r"1\frac12"),
    ("1{,}000", "1000"),
    ("10", "10 m"),
    ("10", r"10\text{ cm}"),
    (r"288 \pi", r"288\pi\text{ cm}^3"),
    (r"\frac{\sqrt3}{3}", r"\frac1{\sqrt3}"),
    (r"$2^{1009}$", r"2\cdot2^{1008}"),
    (r"$\binom{2n}{n}$", r"\frac{(2n)!}{(n!)^2}"),
    (r"$(-\infty, 0) \cup\{1\}$.", r"\{1\}\cup(-\infty,0)"),
    ("17.5%", "17.5"),
    ("1:2", "1:2"),
    ("2,3", r"x=2 \text{ or } x=3"),
    ("5", "x+y=5"),
    ("5", "2+3=5"),
    (r"\frac{1}{2}", ".5"),
    ("-2", "−2"),
    ("5", r"\mathbf{5}"),
    ("5", "**5**"),
    (r"[-2,7]", r"x \in [-2,7]"),
    (r"\frac{x+2}{7}", r"\frac{x}{7}+\frac27"),
    ("-34x-45y+20z-100=0", "34x+45y-20z+100=0"),
    (r"\frac{x^2}{4}+\frac{y^2}{3}=1", "3x^2+4y^2=12"),
    (r"1+2\sqrt{3}", "1 + 2*sqrt(3)"),
    ("6!", "720"),
    ("5", r"5 \text{ apples}"),
    (r"3\sqrt{13}", r"\sqrt{117}"),
    (r"1-\frac1e", "1-e^{-1}"),
    (r"1-\frac{1}{\mathrm{e}}", "1-1/e"),
    (r"\sqrt{1/n}", r"\frac{1}{\sqrt n}"),
    (r"\lceil n/2\rceil+1", r"\lfloor (n+1)/2\rfloor+1"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"),
    (r"-\frac{1}{3}", r"\frac{-1}{3}"),
]

NOT_THE_VALUE = [
    # published wrong acceptances of Math-Verify (its issues 14, 41, 60, 64), all still accepted by 0.9.0
    ("4", r"4\sqrt(2)"),
    ("4", "4√(2)"),
    ("3*x-1*y+13=0", "3x + 4y + 14=0"),
    (r"1-\frac{1}{\mathrm{e}}", r"1+\frac{1}{\mathrm{e}}"),
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    ("n=2, 3, 4", "n=1, 2, 3"),
    ("D = (0, 1)", "D = (0, 1.5)"),
    (r"\pm 2021", "2021"),
    ("12:00", "1:00"),
    (r"1:2:3:\ldots", r"1:4:9:\ldots"),
    (r"F_n = \sum_{k=0}^{n-1} F_k F_{n-k-1}", r"F_n = \sum_{k=0}^{n-2} F_k F_{n-k-2}"),
    ("f(x) = 0", r"\forall x>0, f(x) = 0"),
    (r"19, 46, \text{ and } 82", "21, 36, and 82"),
    (r"1, 2, \ldots, n", r"1, 3, 5, \ldots, 2n-1"),
    (r"\frac{2^{2005}+1}{3 \cdot 2^{2006}}", r"\frac{1}{3 \cdot 2^{2006}}"),
    # tiny numbers that a rounding to six decimals makes equal, and the factor 100 of other graders
    ("1.325e-27", "5e-27"),
    ("2.26e-10", "0.0000001"),
    ("204", "2.04"),
    ("204", "20400"),
    ("1", "1.0000001"),
    ("0.5", "0.50000001"),
    ("0", "e^{-1000}"),
    ("1/3", "0.3333"),
    (r"\pi", "3.14"),
    (r"\pi", "22/7"),
    (r"\sqrt{2}", "1.41"),
    ("x", "x+0.0000001"),
    # another object, order, bracket, name, unit or number of answers
    ("x=5", "y=5"),
    ("(2,5)", "[2,5]"),
    ("(2,4)", "(4,2)"),
    ("2,4", "2"),
    ("5", "5,6"),
    ("5", "5 or 6"),
    ("5", r"5\text{ or } 6"),
    ("5", "5x"),
    ("5", "5 million"),
    ("5", "5 squared"),
    ("5", "5!"),
    ("5", "5 not"),
    ("52", "52_8"),
    ("|x|", "x"),
    ("3", "3^2"),
    ("x>5", r"x\ge5"),
    ("x>5", "y>5"),
    ("y=2x+3", "y=3x+2"),
    (r"\text{Evelyn}", "Eve"),
    ("2.5 cm", "2.5 m"),
    ("m", "M"),
    ("-5", "5"),
    ("x+y=5", "5"),
    ("(1,2,3)", "(1,2)"),
    (r"\infty", "5"),
    ("5", r"\infty"),
    (r"\infty", r"-\infty"),
    ("3", r"3 \frac{1}{2}"),
    ("7", "7 7"),
    ("5", "2 3"),
    ("10", "1 0"),
    ("34", "3,4"),
    ("1234", "12,34"),
    ("6", "5=6"),
    ("100", ""),
    ("100", "?"),
    ("100", ":"),
    (r"\{1,2\}", r"\{1\}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
]


@pytest.mark.parametrize(("gold", "answer"), SAME_VALUE)
def test_another_spelling_is_right(gold, answer):
    assert verdict(gold, answer).status is Status.CORRECT


@pytest.mark.parametrize(("gold", "answer"), NOT_THE_VALUE)
def test_what_only_looks_right_is_not(gold, answer):
    assert verdict(gold, answer).status is not Status.CORRECT


def test_part_of_an_answer_is_refused_by_name():
    assert verdict("4", "4 + oranges").reason == Reason.PARTIAL_PARSE
    assert verdict("2x+3", "2x+3)").reason == Reason.PARTIAL_PARSE


CHOICES = ("3", "4.5 cm", "12", r"$\frac{1}{2}$", "none of these")


@pytest.mark.parametrize(
    "answer",
    [
        "C",
        "(C)",
        "C.",
        "C)",
        "c",
        "C. 12",
        "(C) 12",
        "C: 12",
        "12",
        r"\text{(C)}",
        r"\text{C}",
        "**C**",
        "option C",
        "The answer is C",
        "$C$",
    ],
)
def test_choice_forms(answer):
    assert verdict("C", answer, CHOICE, choices=CHOICES).correct


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "A and C",
        "A, C",
        "BC",
        "13",
        "not C",
        "Not (C)",
        "(A) or (C)",
        "(A) PQ, (C) PS",
        "C. 4.5 cm",
        "C or D",
        "CC",
        "",
        "12 or 3",
        "Cat",
    ],
)
def test_not_this_choice(answer):
    assert not verdict("C", answer, CHOICE, choices=CHOICES).correct


def test_choice_values():
    assert verdict("D", r"\dfrac12", CHOICE, choices=CHOICES).correct
    assert verdict("D", "0.5", CHOICE, choices=CHOICES).correct
    assert verdict("E", "None of these", CHOICE, choices=CHOICES).correct
    assert verdict("A, C", "C and A", CHOICE).correct
    assert not verdict("A, C", "A", CHOICE).correct
    # a letter beyond the options names nothing
    assert not verdict("C", "F", CHOICE, choices=CHOICES).correct


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("142.0", "142"),
        ("142", "142.0"),
        ("025", "25"),
        ("25", "025"),
        ("1000", "1,000"),
        ("10", "10."),
        (r"336^\circ", "336"),
        ("336", r"336^\circ"),
        ("7", "7 cats"),
        ("7", r"7\text{ cm}"),
        ("11 ", "11"),
        ("-4", "-4"),
        ("5", "x = 5"),
        ("8178", "8{,}178"),
    ],
)
def test_integers(gold, answer):
    assert verdict(gold, answer, INT).correct


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("5", "2+3"),
        ("5", "5.5"),
        ("5", "10/2"),
        ("720", "6!"),
        ("6", "x=5, x=6"),
        ("6", "x=5 or x=6"),
        ("6", r"x = 5 \text{ or } x = 6"),
        ("6", "5 = 6"),
        ("6", r"x \ne 5 = 6"),
        ("5", "55"),
        ("5", "-5"),
        ("5", "5 or 6"),
        ("5", "5 dozen"),
        ("1024", "2^{10}"),
    ],
)
def test_an_integer_is_a_number_not_a_sum(gold, answer):
    assert verdict(gold, answer, INT).status is Status.INCORRECT


def test_floats():
    assert verdict("0.13", "0.132", FLOAT, precision=2).correct
    assert verdict("0.13", r"\$0.13", FLOAT, precision=2).correct
    assert not verdict("0.13", "0.14", FLOAT, precision=2).correct
    assert verdict("6.28", r"2\pi", FLOAT, precision=2).correct
    assert not verdict("6.28", r"3\pi", FLOAT, precision=2).correct
    assert verdict("0.5978", "0.5978", FLOAT).correct
    assert not verdict("0.5978", "0.598", FLOAT).correct
    assert verdict("1.2", "6/5", FLOAT, precision=1).correct


def test_lists_keep_order_and_count():
    for answer in ("[1, 2, 3]", "1, 2, 3", "(1,2,3)", r"\{1, 2, 3\}", "1, 2 and 3"):
        assert verdict(("1", "2", "3"), answer, LIST).correct
    for answer in ("[1, 3, 2]", "[1, 2]", "[1, 2, 3, 4]", "6"):
        assert not verdict(("1", "2", "3"), answer, LIST).correct
    assert verdict(("1.2", "1.3"), "[1.21, 1.3]", LIST, precision=1).correct


def test_text():
    assert verdict("Yes", r"\text{yes.}", TEXT).correct
    assert verdict("blue whale", "Blue  Whale", TEXT).correct
    assert not verdict("blue whale", "blue", TEXT).correct
    assert verdict("3", "3.0", TEXT).correct


def test_any_gold_of_several_is_right():
    assert verdict(("0.01", "0.02"), "0.02").correct
    assert not verdict(("0.01", "0.02"), "0.03").correct


def test_caps_and_bad_golds_have_a_side():
    assert (verdict("5", "9" * 3000).side, verdict("5", "9" * 3000).reason) == (Side.ANSWER, Reason.TOO_LONG)
    assert verdict("5", "(" * 60 + "5" + ")" * 60).reason == Reason.TOO_DEEP
    bad = verdict("roughly five", "5", INT)
    assert (bad.status, bad.side, bad.reason) == (Status.UNGRADED, Side.INSTRUMENT, Reason.GOLD_UNPARSEABLE)
    big = verdict("5", "10^{10^{10}}")
    assert (big.status, big.side) == (Status.UNGRADED, Side.ANSWER)


def test_truncated_is_a_reason_of_its_own():
    answer = Answer(type=INT, golds=("5",))
    cut = grade(Job(answer=answer, response="so we get x = 5 and", truncated=True))["strict"]
    assert (cut.status, cut.reason) == (Status.INCORRECT, Reason.TRUNCATED)
    assert grade(Job(answer=answer, response=r"\boxed{5} and further", truncated=True))["strict"].correct
    assert grade(Job(answer=answer, response="x = 5"))["strict"].reason == Reason.NO_ANSWER


def test_recorded_extraction_counts_for_official_only():
    job = Job(
        answer=Answer(type=INT, golds=("5",)), response=r"\boxed{4}", protocols=("official", "strict"), extracted="5"
    )
    found = grade(job)
    assert found["official"].correct and not found["strict"].correct


def test_clusters():
    answers = ("1/2", "0.5", None, r"\frac12", "x", "x+1", "1+x", None)
    assert clusters(ClusterJob(answers, EXPR)) == [0, 0, 1, 0, 2, 3, 3, 4]
    assert clusters(ClusterJob(("C", "(C) 12", "D", "12"), CHOICE, CHOICES)) == [0, 0, 1, 0]


def test_symmetry_of_order_is_gold_first():
    # an equation is worth its right side, a bare number is no equation
    assert equivalence.compare(Answer(type=EXPR, golds=("5",)), "x+y=5")[0] is True
    assert equivalence.compare(Answer(type=EXPR, golds=("x+y=5",)), "5")[0] is False
