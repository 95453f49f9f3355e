"""Compact letters say exactly which pairs differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leaderboards.stats.letters import letters


def test_by_hand() -> None:
    assert letters(3, {(0, 2)}) == ["a", "ab", "b"], "the middle row is tied with both, which are not tied"
    assert letters(3, set()) == ["a", "a", "a"]
    assert letters(3, {(0, 1), (0, 2), (1, 2)}) == ["a", "b", "c"]
    assert letters(0, set()) == []


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))))
    )
)
def test_two_rows_share_a_letter_just_when_nothing_parts_them(case: tuple[int, set[tuple[int, int]]]) -> None:
    n, drawn = case
    apart = {(min(p), max(p)) for p in drawn if p[0] != p[1]}
    found = letters(n, apart)
    for i in range(n):
        assert found[i]
        for j in range(i + 1, n):
            assert bool(set(found[i]) & set(found[j])) == ((i, j) not in apart)


def test_thirty_rows_that_all_differ_have_thirty_names() -> None:
    found = letters(30, {(i, j) for i in range(30) for j in range(i + 1, 30)})
    assert len(set(found)) == 30 and found[25:27] == ["z", "a1"]
