"""Ties that are transitive: the compact letter display (Piepho 2004). Rows share a letter just when no test parts them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

MOST = 1000


def letters(count: int, apart: Collection[tuple[int, int]]) -> list[str]:
    """The letters of rows 0 .. count - 1, best row first, given the pairs that differ significantly.

    Two rows share a letter if and only if their pair is not in `apart`; `a` goes to the first row, `a-f` are six letters.
    Where that takes more than MOST letters (their number can grow exponentially), all are empty.
    """
    groups = [(1 << count) - 1] if count else []  # sets of rows as bits
    for pair in sorted((min(p), max(p)) for p in apart):  # this order keeps the number of groups small on the way
        one, other = (1 << row for row in pair)
        both = one | other
        split = [g for g in groups if g & both == both]
        if split:
            kept = [g for g in groups if g & both != both]
            parts = dict.fromkeys(g ^ bit for bit in (one, other) for g in split)
            found = [p for p in parts if p and not any(p & g == p for g in kept)]
            groups = kept + [p for p in found if not any(p != q and p & q == p for q in found)]
            if len(groups) > MOST:
                return [""] * count
    ordered = sorted([row for row in range(count) if group >> row & 1] for group in groups)
    members = [set(group) for group in ordered]
    return [_text([k for k, group in enumerate(members) if row in group]) for row in range(count)]


def _text(numbers: Sequence[int]) -> str:
    """The letters of a row; four and more in a row read `a-f`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{_name(run[0])}-{_name(run[-1])}" if len(run) > 3 else "".join(map(_name, run)) for run in runs]
    return ("," if any("-" in part for part in parts) else "").join(parts)


def _name(number: int) -> str:
    """a .. z, then a1 .. z1, and so on."""
    turn, letter = divmod(number, 26)
    return chr(ord("a") + letter) + (str(turn) if turn else "")
