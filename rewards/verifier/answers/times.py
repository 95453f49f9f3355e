"""Times of day and dates in, one form out: `2:30 p.m.` is `14:30`, `5 March 2020` is `2020-03-05`. Whole texts only."""

from __future__ import annotations

import re

_NAMES = "january february march april may june july august september october november december"
_MONTHS = _NAMES.split()
_MONTH = {name[:n]: place for place, name in enumerate(_MONTHS, 1) for n in (3, 4, len(name))}
_TIME = re.compile(
    r"(\d{1,2})\s*:\s*(\d{2})(?:\s*:\s*(\d{2}))?\s*(?:([ap])\s*\.?\s*m\b\.?)?(?:\s*o'clock)?", re.IGNORECASE
)
_HOUR = re.compile(r"(\d{1,2})\s*([ap])\s*\.?\s*m\b\.?", re.IGNORECASE)
_DATES = (
    re.compile(r"(?P<month>[A-Za-z]{3,9})\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?(?:,?\s+(?P<year>\d{4}))?"),
    re.compile(r"(?P<day>\d{1,2})(?:st|nd|rd|th)?(?:\s+of)?\s+(?P<month>[A-Za-z]{3,9})\.?(?:,?\s+(?P<year>\d{4}))?"),
    re.compile(r"(?P<year>\d{4})-(?P<number>\d{1,2})-(?P<day>\d{1,2})"),
)

Moment = tuple[str, tuple[int, ...], str]
"""(`time` or `date`; its numbers; `am`, `pm` or "" where the half of the day is not said)."""


def read(text: str) -> Moment | None:
    """The time or date that a text is, None for anything else. A pair of numbers such as `3:2` is no time."""
    bare = re.sub(r"\\text\s*|[{}~$]|\\[,;: ]", " ", text)
    bare = re.sub(r"\s+", " ", bare).strip(" .,") + ("." if bare.strip().endswith(("m.", "M.")) else "")
    return _time(bare) or _date(bare)


def _time(text: str) -> Moment | None:
    match = _TIME.fullmatch(text)
    short = None if match else _HOUR.fullmatch(text)
    if match:
        hour, minute, second, half = int(match[1]), int(match[2]), int(match[3] or 0), (match[4] or "").lower()
    elif short:
        hour, minute, second, half = int(short[1]), 0, 0, short[2].lower()
    else:
        return None
    if minute > 59 or second > 59 or hour > 24 or (half and not 1 <= hour <= 12):
        return None
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return "time", (hour, minute, second), f"{half}m" if half else "pm" if hour > 12 else ""


def _date(text: str) -> Moment | None:
    for pattern in _DATES:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        parts = match.groupdict()
        month = int(parts["number"]) if parts.get("number") else _MONTH.get(parts["month"].casefold(), 0)
        if not 1 <= month <= 12 or not 1 <= int(parts["day"]) <= 31:
            return None
        return "date", (int(parts.get("year") or 0), month, int(parts["day"])), ""
    return None


def same(gold: Moment, answer: Moment) -> bool:
    """The same time, or the same date. Where only the gold says am or pm, the answer may leave it out."""
    if gold[0] != answer[0]:
        return False
    if gold[1] == answer[1]:
        return not (gold[0] == "time" and {gold[2], answer[2]} == {"am", "pm"})
    if gold[0] == "time" and gold[2] == "pm" and gold[1][0] > 12 and not answer[2]:
        return (gold[1][0] - 12, *gold[1][1:]) == answer[1]
    return gold[0] == "date" and 0 in (answer[1][0], gold[1][0]) and gold[1][1:] == answer[1][1:] and not answer[1][0]
