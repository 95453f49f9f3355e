"""Ties that are transitive: the compact letter display (Piepho 2004). Rows share a letter just when no test parts them."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def letters(count: int, apart: Collection[tuple[int, int]]) -> list[str]:
    """The letters of rows 0 .. count - 1, best row first, given the pairs that differ significantly.

    Two rows share a letter if and only if their pair is not in `apart`; `a` goes to the first row.
    """
    groups: list[frozenset[int]] = [frozenset(range(count))] if count else []
    for one, other in sorted(tuple(sorted(pair)) for pair in apart):
        split = [g for g in groups if one in g and other in g]
        if split:
            kept = [g for g in groups if not (one in g and other in g)]
            groups = _absorbed([*kept, *(g - {one} for g in split), *(g - {other} for g in split)])
    ordered = sorted(groups, key=sorted)
    return ["".join(_name(k) for k, group in enumerate(ordered) if row in group) for row in range(count)]


def _absorbed(groups: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """Without the groups that lie inside another one."""
    unique = list(dict.fromkeys(g for g in groups if g))
    return [g for g in unique if not any(g < other for other in unique)]


def _name(number: int) -> str:
    """a .. z, then a1 .. z1, and so on."""
    turn, letter = divmod(number, 26)
    return chr(ord("a") + letter) + (str(turn) if turn else "")
