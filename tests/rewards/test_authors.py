"""What an author of a plug-in is told: which key or gold is wrong, and what to write."""

from __future__ import annotations

import pytest

from harness.core.errors import ConfigError, DataError
from harness.core.records import Answer, AnswerType, Example
from rewards.method import method


@pytest.mark.parametrize("key", ["My", "a_b", "a b", "", "-a", "a--b", "a/b", "a:b"])
def test_keys_that_no_command_line_could_name(key: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the key of a method"):
        method.register(key)


@pytest.mark.parametrize(
    ("golds", "said"), [("7", "not texts"), ((7,), "not texts"), (["7"], "not texts"), (("7", " "), "a gold is empty")]
)
def test_golds_that_nothing_compares_with_name_the_item(golds: object, said: str) -> None:
    answer = Answer(type=AnswerType.INTEGER, golds=golds)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=f"item q9 of toy-test: .*{said}"):
        Example(id="q9", task="toy-test", messages=(), answer=answer)


def test_an_item_may_have_no_gold() -> None:
    assert Example(id="q", task="t", messages=(), answer=Answer(type=AnswerType.TEXT, golds=())).answer.golds == ()
