"""Overlap between training and evaluation items."""

from __future__ import annotations

from harness.core.records import Answer, AnswerType, Example, LazyImage
from harness.evaluation.overlap import overlap
from tasks.base import user


def item(name: str, text: str, image: bool = False) -> Example:
    images = (LazyImage("x", lambda: None),) if image else ()  # type: ignore[arg-type,return-value]
    gold = Answer(type=AnswerType.INTEGER, golds=("1",))
    return Example(id=name, task="t-test", messages=user(text, len(images)), answer=gold, images=images)


LONG = "a b c d e f g h i j k l m n o p"


def test_shared_run_of_words_counts_whatever_the_case() -> None:
    found = overlap([item("x", "zz " + LONG.upper()), item("y", LONG[::-1] + " q r s t")], [item("t", LONG + " tail")])
    assert (found["overlapping"], found["ids"], found["unchecked"]) == (1, ["x"], 0)


def test_twelve_shared_words_are_not_enough() -> None:
    twelve = " ".join(LONG.split()[:12])
    assert overlap([item("x", twelve + " other words here")], [item("t", LONG)])["overlapping"] == 0


def test_short_questions_must_be_equal_and_pictures_are_unchecked() -> None:
    trained = [item("t", "2 + 3"), item("u", "how tall?", image=True)]
    found = overlap([item("a", "2 + 3"), item("b", "2 + 4"), item("c", "how tall?", image=True)], trained)
    assert (found["overlapping"], found["unchecked"], found["ids"]) == (1, 1, ["a"])
