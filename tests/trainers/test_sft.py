"""Cold starts: which examples a step sees and in which form."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.core.config import ColdStart, Lesson
from harness.core.errors import DataError
from harness.core.records import Example
from tasks.arithmetic import Arithmetic
from trainers.sft import Lessons, direct

STEPS, BATCH = 40, 25


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return Arithmetic("validation").load()


def settings(*lessons: Lesson) -> ColdStart:
    return ColdStart(task="arithmetic", steps=STEPS, batch=BATCH, lessons=lessons or (Lesson(),))


def at_once(example: Example) -> bool:
    return (example.solution or "").startswith("\\boxed")


def test_a_lesson_keeps_to_its_level_its_steps_and_its_share_of_direct_answers(examples: list[Example]) -> None:
    lessons = Lessons(examples, settings(Lesson(until=0.25, level=3), Lesson(until=1.0, direct=0.4)), seed=0)
    early = [e for step in range(10) for e in lessons.at(step)]
    late = [e for step in range(10, STEPS) for e in lessons.at(step)]
    assert len(early) == 10 * BATCH and {e.metadata["level"] for e in early} == {3} and not any(map(at_once, early))
    assert {e.metadata["level"] for e in late} == {1, 2, 3}
    share = sum(map(at_once, late)) / len(late)
    assert abs(share - 0.4) < 4 * (0.4 * 0.6 / len(late)) ** 0.5


def test_every_example_comes_equally_often_and_in_both_forms(examples: list[Example]) -> None:
    lessons = Lessons(examples, settings(Lesson(direct=0.5)), seed=0)
    seen = [e for step in range(STEPS) for e in lessons.at(step)]
    assert set(Counter(e.id for e in seen).values()) == {STEPS * BATCH // len(examples)}
    forms = {e.id: {at_once(x) for x in seen if x.id == e.id} for e in examples}
    assert sum(len(f) == 2 for f in forms.values()) > 0.95 * len(examples)


def test_steps_repeat_under_a_seed_and_differ_under_another(examples: list[Example]) -> None:
    one, same, other = (Lessons(examples, settings(Lesson(direct=0.5)), seed) for seed in (1, 1, 2))
    assert one.at(7) == same.at(7) != other.at(7)
    assert one.at(7) != one.at(8)


def test_a_direct_answer_keeps_question_and_gold(examples: list[Example]) -> None:
    short = direct(examples[0])
    assert (short.messages, short.answer) == (examples[0].messages, examples[0].answer)
    assert short.solution == f"\\boxed{{{examples[0].answer.golds[0]}}}" and examples[0].solution != short.solution


def test_what_cannot_be_taught_is_refused(examples: list[Example]) -> None:
    with pytest.raises(DataError, match="no supervised item has level 7"):
        Lessons(examples, settings(Lesson(level=7)), seed=0)
    with pytest.raises(DataError, match=f"item {direct(examples[0]).id} has no solution"):
        from dataclasses import replace

        Lessons([replace(examples[0], solution=None)], settings(), seed=0)
