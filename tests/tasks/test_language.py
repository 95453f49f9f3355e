"""Language sets: golds typed as they must be, known wrong golds marked, hub columns read, the authors' own rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import DataError
from harness.core.records import Answer, AnswerType
from tasks import gsm8k, minerva, olympiadbench
from tasks.resolve import resolve
from tasks.support.golds import typed, whole
from tests.tasks.conftest import Write

INTEGER, EXPRESSION, FLOAT = AnswerType.INTEGER, AnswerType.EXPRESSION, AnswerType.FLOAT


@pytest.mark.parametrize(
    ("gold", "kind", "text"),
    [
        ("025", INTEGER, "25"), (142.0, INTEGER, "142"), ("1{,}000", INTEGER, "1000"), ("10,\\!080", INTEGER, "10080"),
        ("-4", INTEGER, "-4"), ("$2$", INTEGER, "2"), ("2\n", INTEGER, "2"), ("\\text{(B)}", AnswerType.CHOICE, "B"),
        ("\\text{Evelyn}", AnswerType.TEXT, "\\text{Evelyn}"), ("\\$18.90", EXPRESSION, "\\$18.90"),
        ("$69$,$84$", EXPRESSION, "69,84"), ("$(-\\infty, 0) \\cup\\{1\\}$.", EXPRESSION, "(-\\infty, 0) \\cup\\{1\\}"),
        ("$\\quad(2+\\sqrt{2}, 1+\\sqrt{2})$", EXPRESSION, "(2+\\sqrt{2}, 1+\\sqrt{2})"), ("52_8", EXPRESSION, "52_8"),
        ("3, 5, 7", EXPRESSION, "3, 5, 7"), ("4.5", EXPRESSION, "4.5"), ("x", EXPRESSION, "x"), ("1,2", EXPRESSION, "1,2"),
    ],
)  # fmt: skip
def test_published_golds_are_typed(gold: Any, kind: AnswerType, text: str) -> None:
    answer = typed(gold)
    assert (answer.type, answer.golds) == (kind, (text,))


def test_integer_sets_refuse_other_golds() -> None:
    assert whole("336^\\circ", "x").golds == ("336",)
    with pytest.raises(DataError, match="aime24-test item 3: the gold '1/2' is not an integer"):
        whole("1/2", "aime24-test item 3")


def test_local_sets_are_whole(shared: Path) -> None:
    sizes = {
        "aime24": 30,
        "aime25": 30,
        "amc23": 83,
        "amc23-2023": 40,
        "math500": 250,
        "minerva": 136,
        "olympiadbench": 338,
    }
    loaded = {name: resolve(name, shared / "math").load() for name in sizes}
    assert {name: len(examples) for name, examples in loaded.items()} == sizes
    for name in ("aime24", "aime25", "amc23", "amc23-2023"):
        assert {e.answer.type for e in loaded[name]} == {INTEGER}
    assert all(0 <= int(e.answer.golds[0]) <= 999 for e in loaded["aime24"] + loaded["aime25"])
    assert loaded["amc23"][0].answer.golds == ("142",) and loaded["amc23-2023"][0].answer.golds == ("27",)
    assert [e.question for e in loaded["amc23"][43:]] == [e.question for e in loaded["amc23-2023"]]


def test_minerva_marks_golds_of_another_sub_question(shared: Path) -> None:
    test, corrected = (resolve(f"minerva-{s}", shared / "math").load() for s in ("test", "corrected"))
    assert len(minerva._RIGHT) == 33
    even = sorted(row // 2 for row in minerva._RIGHT if row % 2 == 0)
    assert [int(e.id) for e in test if e.note] == [int(e.id) for e in corrected if e.note] == even and len(even) == 21
    by_row = {int(e.id) * 2: (e, c) for e, c in zip(test, corrected, strict=True)}
    assert by_row[138][0].answer.golds == ("1",) and by_row[138][1].answer.golds == ("400000",)
    assert by_row[122][0].answer == by_row[122][1].answer, "no right answer is known for this one"
    assert "should be 400000" in by_row[138][0].note and "the suite has 1" in by_row[138][1].note
    assert all(e.answer == c.answer for e, c in zip(test, corrected, strict=True) if not e.note)


def test_minerva_of_another_order_gets_no_marks(shared: Path, tmp_path: Path) -> None:
    lines = (shared / "math" / "minerva.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "minerva.jsonl").write_text("".join(reversed(lines)), "utf-8")
    assert not any(e.note for e in resolve("minerva", tmp_path).load())


def test_full_minerva_suite_is_recognised() -> None:
    problems = [f"p{i}" for i in range(272)]
    assert set(minerva._suite_rows(problems)) == {None}
    anchors = {row: minerva.fingerprint(f"p{row}") for row in minerva._ANCHORS}
    original, minerva._ANCHORS = minerva._ANCHORS, anchors
    try:
        assert minerva._suite_rows(problems) == list(range(272))
        assert minerva._suite_rows(problems[::2]) == list(range(0, 272, 2))
    finally:
        minerva._ANCHORS = original


HUB: dict[str, tuple[dict[str, Any], AnswerType, str, dict[str, Any]]] = {
    "aime24": ({"id": 60, "problem": "q", "solution": "s", "answer": "025", "url": "u", "year": "2024"}, INTEGER, "25", {}),
    "aime25": ({"question": "q", "answer": "336^\\circ"}, INTEGER, "336", {}),
    "amc23-2022-2023": ({"id": 0, "problem": "q", "answer": 142.0, "url": "u"}, INTEGER, "142", {}),
    "amc23-2023": ({"id": 0, "question": "q", "answer": "27.0"}, INTEGER, "27", {}),
    "math500": (
        {"problem": "q", "solution": "s", "answer": "52_8", "subject": "Algebra", "level": 3, "unique_id": "test/a/1.json"},
        EXPRESSION, "52_8", {"level": 3, "subject": "Algebra"},
    ),
    "minerva-test": ({"problem": "q", "answer": ["7 \\times 10^{37}\n", "7e37"]}, EXPRESSION, "7 \\times 10^{37}", {}),
    "minerva-ocw": (
        {"problem": "q", "solution": "So \\boxed{np.arcsin(-1./3)}.", "type": "Relativity", "idx": 7},
        EXPRESSION, "\\arcsin(-1/3)", {"type": "Relativity"},
    ),
    "olympiadbench": (
        {"id": 1606, "subfield": "Combinatorics", "question": "q", "solution": ["s"], "final_answer": ["4.2"],
         "is_multiple_answer": False, "unit": None, "answer_type": "Numerical", "error": "1e-1"},
        FLOAT, "4.2", {"subfield": "Combinatorics", "answer_type": "Numerical"},
    ),
    "gsm8k": ({"question": "q", "answer": "3*4=<<3*4=12>>12 eggs.\n#### 1,200"}, INTEGER, "1200", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", HUB)
def test_the_hubs_own_columns(name: str, tmp_path: Path, parquet: Write) -> None:
    row, kind, gold, known = HUB[name]
    task = resolve(name)
    source = task.hub[task.split].split
    parquet(tmp_path / "data" / f"{source}-00000-of-00001.parquet", [row])
    (example,) = resolve(name, tmp_path).load()
    assert example.question == "q" and (example.answer.type, example.answer.golds[0]) == (kind, gold)
    assert dict(example.metadata) == known and example.task == task.name
    assert example.id == str(row.get("unique_id", row.get("id", 0)))


def test_gsm8k_solutions_end_in_a_box_without_calculator_notes(tmp_path: Path, parquet: Write) -> None:
    rows = [HUB["gsm8k"][0], {"question": "Marin and his neighbor Nancy eat ...", "answer": "x\n#### 150"}]
    parquet(tmp_path / "test.parquet", rows)
    first, second = resolve("gsm8k", tmp_path).load()
    assert first.solution == "3*4=12 eggs.\n\\boxed{1200}"
    assert second.note == "wrong gold: 150, should be 240" and not first.note


@pytest.mark.parametrize(
    ("response", "right", "reason"),
    [
        ("so 12.\n#### 1200", True, "match"), ("#### 1,200", True, "match"), ("#### 1200.", True, "match"),
        ("#### 12\n#### 1200", False, "mismatch"), ("#### 1200.0", False, "mismatch"),
        ("so \\boxed{1200}", True, "boxed_match"), ("so \\boxed{1,200}", True, "boxed_match"),
        ("so \\boxed{12}", False, "boxed_mismatch"), ("1200", False, "no_answer"), ("####", False, "no_answer"),
    ],
)  # fmt: skip
def test_gsm8k_rule(response: str, right: bool, reason: str) -> None:
    assert gsm8k.official(Answer(type=INTEGER, golds=("1200",)), response)[::2] == (right, reason)


@pytest.mark.parametrize(
    ("gold", "response", "right"),
    [
        # several answers: any order, equal count, from one box or many, plus-minus as two
        ("69,84", "So the final answer is \\boxed{84,69}.", True),
        ("69,84", "\\boxed{84} and \\boxed{69}", True),
        ("69,84", "\\boxed{69}", False),
        ("69,84", "\\boxed{69, 84, 84}", False),
        ("1+\\sqrt{2},1-\\sqrt{2}", "\\boxed{1\\pm\\sqrt{2}}", True),
        # only what follows the last "So the final answer is" counts, and without boxes the last line's formulas
        ("3", "\\boxed{4}. So the final answer is \\boxed{3}.", True),
        ("3", "\\boxed{4}. No: \\boxed{3}.", True),
        ("3", "so $x=4$\nhence $3$", True),
        ("3", "\\boxed{3", False),
        # numbers: absolute 1.01e-8, also the hundredth and the hundredfold
        ("7", "\\boxed{700}", True),
        ("50", "\\boxed{0.5}", True),
        ("7", "\\boxed{7.00000001}", True),
        ("7", "\\boxed{7.0000001}", False),
        # tuples and intervals in order, brackets must agree
        ("(3,2)", "\\boxed{(2,3)}", False),
        ("(1,1), (3,2)", "\\boxed{(3,2),(1,1)}", True),
        ("[-1,-\\frac{1}{2}]", "\\boxed{[-1,-0.5]}", True),
        ("[-1,-\\frac{1}{2}]", "\\boxed{(-1,-\\frac12]}", False),
        # expressions, equations, names in front
        ("2 n", "\\boxed{n+n}", True),
        ("f(x)=x+1", "\\boxed{x+1}", True),
        ("k=1", "\\boxed{k=1}", True),
        ("\\frac{25}{2}", "\\boxed{12.5}", True),
        ("\\frac{1}{3}", "\\boxed{0.333}", False),
        ("\\frac{1}{3}", "\\boxed{0.33333333333}", True),
        ("90^{\\circ},60^{\\circ}", "\\boxed{60, 90}", True),
        ("8 \\%", "\\boxed{8}", True),
    ],
)
def test_olympiadbench_rule(gold: str, response: str, right: bool) -> None:
    assert olympiadbench.official(typed(gold), response)[0] is right


def test_olympiadbench_error_is_an_absolute_precision() -> None:
    answer = Answer(type=FLOAT, golds=("4.2",), precision=1)
    verdicts = [olympiadbench.official(answer, f"\\boxed{{{x}}}")[0] for x in ("4.3", "4.301", "4.302", "4.1")]
    assert verdicts == [True, True, False, True]


def test_olympiadbench_broken_golds_are_kept_and_marked(shared: Path) -> None:
    notes = {e.note for e in resolve("olympiadbench", shared / "math").load() if e.note}
    assert len(notes) == 2 and all(n.startswith("broken gold") for n in notes)
