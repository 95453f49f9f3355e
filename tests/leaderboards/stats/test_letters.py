"""Compact letters say exactly which pairs differ."""

from __future__ import annotations

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from leaderboards.stats.letters import letters


def test_by_hand() -> None:
    assert letters(3, {(0, 2)}) == ["a", "ab", "b"], "the middle row is tied with both, which are not tied"
    assert letters(3, set()) == ["a", "a", "a"]
    assert letters(3, {(0, 1), (0, 2), (1, 2)}) == ["a", "b", "c"]
    assert letters(0, set()) == []
    assert letters(2, set()) == ["a", "a"]
    ladder = {(i, j) for i in range(12) for j in range(i + 5, 12)}
    assert letters(12, ladder)[4:6] == ["a-e", "b-f"], "each row is tied with the four before it and the four after it"


def spelt(text: str) -> set[str]:
    """`a-d,f` as its letters."""
    found = set()
    for part in text.split(",") if "-" in text else text:
        first, _, last = part.partition("-")
        found |= {chr(k) for k in range(ord(first), ord(last) + 1)} if last else set(part)
    return found


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))))
    )
)
def test_two_rows_share_a_letter_just_when_nothing_parts_them(case: tuple[int, set[tuple[int, int]]]) -> None:
    n, drawn = case
    apart = {(min(p), max(p)) for p in drawn if p[0] != p[1]}
    found = [spelt(text) for text in letters(n, apart)]
    for i in range(n):
        assert found[i]
        for j in range(i + 1, n):
            assert bool(found[i] & found[j]) == ((i, j) not in apart)


def test_thirty_rows_that_all_differ_have_thirty_names() -> None:
    found = letters(30, {(i, j) for i in range(30) for j in range(i + 1, 30)})
    assert len(set(found)) == 30 and found[25:27] == ["z", "a1"]


def test_a_pattern_that_needs_thousands_of_letters_gets_none_and_soon() -> None:
    stream = random.Random(0)
    apart = {(i, j) for i in range(150) for j in range(i + 1, 150) if stream.random() < 0.4}
    started = time.perf_counter()
    assert letters(150, apart) == [""] * 150
    assert time.perf_counter() - started < 5
