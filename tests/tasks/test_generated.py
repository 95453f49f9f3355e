"""Generated tasks: the item space is partitioned, a split is the same everywhere, solutions prove their answers."""

from __future__ import annotations

import hashlib
import itertools
import pickle
import random
import re
import time

import pytest

from harness.core.records import AnswerType, Example
from tasks import arithmetic, charts
from tasks.resolve import resolve
from tasks.support import drawing
from tasks.support.splits import SHARES, bucket

SPLITS = ("test", "validation", "train", "expert")
MODULES = {"arithmetic": arithmetic, "charts": charts}


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Example]]:
    return {f"{key}-{split}": resolve(f"{key}-{split}").load() for key in ("arithmetic", "charts") for split in SPLITS}


def _solved(example: Example) -> str:
    return re.search(r"\\boxed\{(.*)\}$", example.solution or "").group(1)  # type: ignore[union-attr]


def test_buckets_follow_their_shares() -> None:
    counts = dict.fromkeys(SHARES, 0)
    for i in range(20_000):
        counts[bucket(f"item {i}")] += 1
    assert all(abs(counts[s] / 200 - share) < 1.5 for s, share in SHARES.items())


@pytest.mark.parametrize("key", ["arithmetic", "charts"])
def test_sizes_levels_and_unique_ids(splits: dict[str, list[Example]], key: str) -> None:
    for split in SPLITS:
        examples = splits[f"{key}-{split}"]
        assert len(examples) == MODULES[key].SIZES[split] == len({e.id for e in examples})
        assert {e.task for e in examples} == {f"{key}-{split}"}
        by_level = [sum(e.metadata["level"] == level for e in examples) for level in (1, 2, 3)]
        assert max(by_level) - min(by_level) <= 1


def _mirror_free(question: str) -> str:
    """An independent canonical form: operands of + and * sorted, by Python's own parser."""
    import ast

    def form(node: ast.AST) -> str:
        if isinstance(node, ast.BinOp):
            sides = [form(node.left), form(node.right)]
            name = type(node.op).__name__
            return f"{name}({','.join(sides if name == 'Sub' else sorted(sides))})"
        assert isinstance(node, ast.Constant)
        return str(node.value)

    return form(ast.parse(question.removesuffix("=?"), mode="eval").body)


def test_no_arithmetic_question_or_mirror_image_is_in_two_splits(splits: dict[str, list[Example]]) -> None:
    forms = {s: {_mirror_free(e.question) for e in splits[f"arithmetic-{s}"]} for s in SPLITS}
    assert all(len(forms[s]) == arithmetic.SIZES[s] for s in SPLITS)
    assert all(not forms[a] & forms[b] for a, b in itertools.combinations(SPLITS, 2))


def test_no_chart_is_in_two_splits(splits: dict[str, list[Example]]) -> None:
    def seen(split: str) -> set[bytes]:
        return {e.images[0].open(e.id).tobytes() for e in splits[f"charts-{split}"][:1500]}

    pixels = {s: seen(s) for s in SPLITS}
    assert all(not pixels[a] & pixels[b] for a, b in itertools.combinations(SPLITS, 2))


def test_arithmetic_solutions_are_true_step_by_step(splits: dict[str, list[Example]]) -> None:
    for example in splits["arithmetic-test"] + splits["arithmetic-expert"]:
        gold = str(eval(example.question.removesuffix("=?"), {"__builtins__": {}}))
        assert example.answer.type is AnswerType.INTEGER
        assert example.answer.golds == (gold,)
        assert _solved(example) == gold
        steps = (example.solution or "").split("; ")[:-1]
        assert len(steps) == example.metadata["level"] + 1
        for step in steps:
            left, right = step.split("=")
            assert re.fullmatch(r"\d+[-+*]\d+", left) and eval(left, {"__builtins__": {}}) == int(right) >= 0
        assert steps[-1].endswith(f"={gold}")


@pytest.mark.parametrize("text", ["17+25*3", "(5+2)*23", "90-(5+2)*3", "9*9-(80-12)", "4*5+6*7"])
def test_expressions_are_written_as_python_reads_them(text: str) -> None:
    letters = re.sub(r"\d+", "a", text)
    node = arithmetic.parse(letters, random.Random(3))
    assert re.sub(r"\d+", "a", node.text()) == letters
    assert eval(node.text(), {"__builtins__": {}}) == node.value


def test_texts_are_short(splits: dict[str, list[Example]]) -> None:
    for name, examples in splits.items():
        assert max(len(e.question.encode()) for e in examples) <= 40, name
        assert max(len((e.solution or "").encode()) for e in examples) <= 60, name


def test_chart_answers_follow_from_the_chart(splits: dict[str, list[Example]]) -> None:
    kinds, types = set(), set()
    for example in splits["charts-test"] + splits["charts-train"]:
        chart = example.images[0].load.args[0]  # type: ignore[attr-defined]
        values = dict(zip(chart.labels, chart.values, strict=True))
        for series, numbers in (("red", chart.values), ("blue", chart.second)):
            values |= {f"{series} {label}": n for label, n in zip(chart.labels, numbers, strict=False)}
        question, gold = example.question, example.answer.golds[0]
        for name, value in re.findall(r"((?:red |blue )?[A-E])=(\d+)", example.solution or ""):
            assert values[name] == int(value)
        sides = re.fullmatch(r"(.+?)(?: ([-+]) (.+))? = \?", question)
        shown = chart.second if "blue" in question and "red" not in question else chart.values
        if example.metadata["level"] == 3:
            extreme = max(shown) if "largest" in question else min(shown)
            expected = str(max(shown) - min(shown)) if " - " in question else chart.labels[shown.index(extreme)]
            assert " - " in question or shown.count(extreme) == 1
        else:
            assert sides is not None
            a, b = values[sides[1]], values.get(sides[3] or "", 0)
            expected = str(a + b if sides[2] == "+" else a - b)
        assert gold == expected == _solved(example)
        kinds.add(chart.kind)
        types.add(example.answer.type)
        if example.answer.type is AnswerType.CHOICE:
            assert example.answer.choices == tuple(chart.labels) and gold in chart.labels
    assert kinds == {"bar", "line", "grouped", "pie"}
    assert types == {AnswerType.CHOICE, AnswerType.INTEGER}


def test_bars_are_as_high_as_their_values() -> None:
    chart = drawing.Chart("bar", (1, 8, 3))
    image = drawing.draw(chart)
    heights = []
    for i, colour in enumerate(list(drawing.COLOURS.values())[:3]):
        heights.append(sum(image.getpixel((drawing.SLOT * (i + 1) + 14, y)) == colour for y in range(84)))
    assert [h / heights[0] for h in heights] == [1, 8, 3]


def test_pie_areas_follow_their_parts() -> None:
    chart = drawing.Chart("pie", (6, 4, 2))
    image = drawing.draw(chart).crop((0, 0, 84, 84))
    data = list(image.get_flattened_data() if hasattr(image, "get_flattened_data") else image.getdata())
    areas = [data.count(colour) for colour in list(drawing.COLOURS.values())[:3]]
    assert areas[0] / areas[2] == pytest.approx(3, rel=0.15) and areas[1] / areas[2] == pytest.approx(2, rel=0.15)


def test_pictures_are_small_cheap_and_portable_to_workers(splits: dict[str, list[Example]]) -> None:
    examples = splits["charts-test"]
    start = time.perf_counter()
    images = [e.images[0].open(e.id) for e in examples]
    assert (time.perf_counter() - start) / len(images) < 0.005
    assert all(112 <= i.width <= 168 and 84 <= i.height <= 112 and i.width % 28 == i.height % 28 == 0 for i in images)
    copy = pickle.loads(pickle.dumps(examples[0]))
    assert copy.images[0].open("0").tobytes() == images[0].tobytes()


def _digest(examples: list[Example]) -> str:
    digest = hashlib.sha256()
    for e in examples:
        digest.update(f"{e.id}|{e.question}|{e.solution}|{e.answer.golds}".encode())
        for image in e.images:
            digest.update(image.open(e.id).tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(
    ("name", "expected"), [("arithmetic-test", "6c1f547810bd8034"), ("charts-test", "c76e553eb401d862")]
)
def test_splits_never_change_within_a_version(splits: dict[str, list[Example]], name: str, expected: str) -> None:
    """Also between versions of Python and Pillow, and whatever the global stream does."""
    random.seed(7)
    assert _digest(splits[name]) == _digest(resolve(name).load()) == expected


def test_loading_leaves_the_global_stream_alone() -> None:
    random.seed(1)
    state = random.getstate()
    resolve("arithmetic-validation").load()
    resolve("charts-validation").load()
    assert random.getstate() == state


def test_levels_are_declared() -> None:
    assert arithmetic.LEVELS == charts.LEVELS == (1, 2, 3)
