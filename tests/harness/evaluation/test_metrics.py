"""Metrics against published and hand-computed numbers, and against direct enumeration."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest

from harness.core.records import Finish, Sample, Side, Status
from harness.evaluation import metrics


def sample(item: str, index: int = 0, right: bool | None = True, **fields: object) -> Sample:
    status = Status.UNGRADED if right is None else Status.CORRECT if right else Status.INCORRECT
    official = {"status": status.value, "extracted": "1", "reason": "r", "side": None}
    values: dict[str, object] = {
        "id": item,
        "sample_index": index,
        "task": "toy",
        "response": "abc",
        "gold": "1",
        "verdict": status,
        "extracted": "1" if right else "2",
        "reason": "lost" if right is None else "r",
        "protocol": "official",
        "side": Side.INSTRUMENT if right is None else None,
        "verdicts": {"official": official, "strict": {**official, "status": "incorrect"}},
        "finish": "stop",
        "tokens": 3,
    }
    return Sample(**{**values, **fields})  # type: ignore[arg-type]


def test_wilson_gives_the_published_numbers() -> None:
    # Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for correct, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert metrics.wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_never_empty_at_the_ends() -> None:
    assert metrics.wilson(0, 30)[1] > 0.1 and metrics.wilson(30, 30)[0] < 0.9
    assert metrics.wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("n", "correct", "k"), [(5, 2, 3), (8, 0, 4), (8, 8, 1), (6, 1, 6), (7, 3, 2)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int, correct: int, k: int) -> None:
    subsets = list(itertools.combinations([1] * correct + [0] * (n - correct), k))
    assert metrics.pass_at(k, n, correct) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


def test_pass_at_k_refuses_more_than_it_has() -> None:
    with pytest.raises(ValueError, match="needs at least 9"):
        metrics.pass_at(9, 8, 1)


def test_majority_by_hand() -> None:
    right = [True, False, False, True]
    assert metrics.majority(right, [0, 1, 2, 0]) == 1.0
    assert metrics.majority(right, [0, 1, 1, 2]) == 0.0
    assert metrics.majority(right, [0, 1, 1, 0]) == 0.5, "a tie counts by its share"
    assert metrics.majority(right, [-1, 1, -1, -1]) == 0.0, "no answer is no vote"
    assert metrics.majority(right, [-1] * 4) == 0.0


def test_equal_text_ignores_spaces_and_case() -> None:
    assert metrics.equal_text(["X + 1", "x+1", None, "y"]) == [0, 0, -1, 1]


def test_accuracy_keeps_ungraded_in_the_denominator() -> None:
    found = metrics.summarise([sample("a"), sample("b", right=False), sample("c", right=None), sample("d")])
    assert found["metrics"]["accuracy"]["value"] == 0.5
    assert (found["n"], found["ungraded"], found["metrics"]["accuracy"]["graded"]) == (4, 1, 3)
    assert found["metrics"]["accuracy"]["ci95"] == list(metrics.wilson(2, 4))
    assert found["metrics"]["ungraded"] == {
        "count": 1,
        "share": 0.25,
        "instrument": 1,
        "answer": 0,
        "reasons": {"lost": 1},
    }
    assert found["headline"] is False and "25.0% of the samples are ungraded" in found["warnings"][0]
    assert found["metrics"]["protocols"]["strict"]["value"] == 0.0


def test_two_percent_ungraded_still_stands() -> None:
    rows = [sample(str(i)) for i in range(98)]
    assert metrics.summarise([*rows, sample("x", right=None), sample("y", right=None)])["headline"] is True
    assert metrics.summarise([*rows[:95], sample("x", right=None), sample("y", right=None)])["headline"] is False


def test_truncation_warns_but_stands() -> None:
    rows = [sample(str(i)) for i in range(9)] + [sample("x", right=False, finish=Finish.LENGTH.value)]
    found = metrics.summarise(rows)
    assert found["metrics"]["truncated"] == {"count": 1, "share": 0.1} and found["headline"]
    assert "raise --max-new-tokens" in found["warnings"][0]


def test_repeats_by_hand() -> None:
    rows = [sample("a", i, right=i < 1, extracted="1" if i < 1 else "2") for i in range(4)]
    rows += [sample("b", i, right=i < 3, extracted="1" if i < 3 else "2") for i in range(4)]
    found = metrics.summarise(rows)["metrics"]
    assert found["accuracy"]["value"] == 0.5 and found["avg@n"] == {"n": 4, "value": 0.5}
    assert found["accuracy"]["interval"] == "bootstrap over questions"
    assert found["pass@k"] == pytest.approx({"1": 0.5, "2": (0.5 + 1.0) / 2, "4": 1.0})
    assert found["maj@k"] == {"4": 0.5}


def test_no_result_depends_on_the_order_of_the_log() -> None:
    rows = [sample(str(i), j, right=(i * 7 + j * 3) % 5 < 2) for i in range(40) for j in range(3)]
    shuffled = rows[:]
    random.Random(1).shuffle(shuffled)
    assert metrics.summarise(rows) == metrics.summarise(shuffled)


def test_bootstrap_over_questions_is_wider_than_over_samples() -> None:
    """Eight equal samples a question carry the information of one: the interval must be that of the questions."""
    means = [float(i % 2) for i in range(100)]
    low, high = metrics.question_bootstrap(means)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(100), rel=0.06)
    rows = [sample(str(i), j, right=bool(i % 2)) for i in range(100) for j in range(8)]
    assert metrics.summarise(rows)["metrics"]["accuracy"]["ci95"][0] < 0.42 < metrics.wilson(400, 800)[0]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_bootstrap_without_spread_is_not_an_empty_interval(value: float) -> None:
    low, high = metrics.question_bootstrap([value] * 30)
    assert high - low > 0.1


def test_bootstrap_draws_from_no_global_stream() -> None:
    import numpy as np

    state = np.random.get_state(legacy=True)
    before = random.getstate()
    metrics.question_bootstrap([0.0, 0.5, 1.0])
    assert repr(np.random.get_state(legacy=True)) == repr(state) and random.getstate() == before


def test_categories_and_lists_of_categories() -> None:
    rows = [
        sample("a", categories={"subject": "algebra", "skills": ["x", "y"]}),
        sample("b", right=False, categories={"subject": "algebra", "skills": ["y"]}),
        sample("c", categories={"subject": None, "skills": []}),
    ]
    found = metrics.summarise(rows, categories=("subject", "skills"))["by_category"]
    assert {k: (v["value"], v["n"]) for k, v in found["subject"].items()} == {"algebra": (0.5, 2), "(none)": (1.0, 1)}
    assert {k: (v["value"], v["n"]) for k, v in found["skills"].items()} == {"x": (1.0, 1), "y": (0.5, 2)}


def test_noted_items_are_scored_apart() -> None:
    found = metrics.summarise([sample("a"), sample("b", right=False, note="gold is wrong")])["metrics"]
    assert found["accuracy"]["value"] == 0.5
    assert found["accuracy_without_noted"]["value"] == 1.0 and found["accuracy_without_noted"]["removed"] == 1


def test_ragged_samples_weigh_every_item_the_same_and_say_so() -> None:
    rows = [sample("a", i) for i in range(3)] + [sample("b", right=False)]
    found = metrics.summarise(rows)
    assert found["metrics"]["accuracy"]["value"] == 0.5 and "1 to 3 samples" in found["warnings"][0]


def test_every_result_is_json_without_nan() -> None:
    for rows in ([], [sample("a")], [sample("a", right=None, note="x")], [sample("a", i) for i in range(2)]):
        json.dumps(metrics.summarise(rows, categories=("subject",)), allow_nan=False)
