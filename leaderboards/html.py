"""Tables as one page: a file that needs nothing else, no network, no script. Template: leaderboards/site/page.html."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from leaderboards import text
from leaderboards.table import Row, Table

SITE = Path(__file__).parent / "site"
WIDTH, HEIGHT = 220, 22
"""Of the drawn interval of a row, in pixels."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The accuracies that a block's drawings show, in [0, 1]; `ticks` are (pixel, label)."""

    low: float
    high: float

    def x(self, value: float) -> float:
        """Pixel of an accuracy."""
        return round(6 + (WIDTH - 12) * (value - self.low) / (self.high - self.low), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        span = self.high - self.low
        step = next(s for s in (0.05, 0.1, 0.2, 0.5) if span / s <= 5)
        first = math.ceil(self.low / step - 1e-9)
        count = int((self.high - first * step) / step + 1e-9) + 1
        return [(self.x(k * step), f"{100 * k * step:.0f}") for k in range(first, first + count)]


def axis(rows: Sequence[Row]) -> Axis:
    """The smallest range in steps of 5 points that holds every interval."""
    low = math.floor(20 * min(r.low for r in rows) + 1e-9) / 20
    high = math.ceil(20 * max(r.high for r in rows) - 1e-9) / 20
    return Axis(max(0.0, low), min(1.0, max(high, low + 0.05)))


def page(tables: Sequence[Table]) -> str:
    """The whole page as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SITE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    described = [_table(number, table) for number, table in enumerate(tables)]
    return environment.get_template("page.html").render(tables=described, width=WIDTH, height=HEIGHT)


def _table(number: int, table: Table) -> dict[str, Any]:
    blocks = []
    for title, members in groupby(table.rows, key=lambda r: r.block):
        rows = list(members)
        chosen = [c for c in text.columns(rows) if c.title not in ("", "method")]
        blocks.append(
            {
                "title": title,
                "ranked": any(r.rank is not None for r in rows),
                "columns": [c.title for c in chosen],
                "rows": [
                    {"row": r, "name": text.name(r), "rank": text.rank(r), "cells": [c.cell(r) for c in chosen]}
                    for r in rows
                ],
                "axis": axis(rows),
                "baseline": next(
                    (r.accuracy for r in rows if r.difference is None and any(o.against == r.name for o in rows)), None
                ),
                "categories": categories(rows),
                "details": [(text.name(r), details(r)) for r in rows],
            }
        )
    return {
        "id": f"t{number}",
        "task": table.task,
        "about": table.about,
        "warnings": text.warnings(table),
        "legend": text.legend(table),
        "blocks": blocks,
    }


def categories(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One view per category: its values with n, and the accuracy of every row on each."""
    found = []
    for category in dict.fromkeys(c for r in rows for c in r.categories):
        values: dict[str, int] = {}
        for row in rows:
            values |= {v: n for v, (_, n) in row.categories.get(category, {}).items()}
        lines = [
            {"value": v, "n": n, "cells": [_score(row.categories.get(category, {}), v) for row in rows]}
            for v, n in sorted(values.items(), key=lambda item: _natural(item[0]))
        ]
        found.append({"name": category, "rows": [text.name(r) for r in rows], "lines": lines})
    return found


def _score(scores: Mapping[str, tuple[float, int]], value: str) -> float | None:
    return scores[value][0] if value in scores else None


def _natural(value: str) -> tuple[int, float, str]:
    """Numbers in order of size, before words."""
    return (0, float(value), "") if value.replace(".", "", 1).isdecimal() else (1, 0.0, value)


def details(row: Row) -> list[tuple[str, str]]:
    """What a row stands on, as labels and values."""
    found = [("seeds", ", ".join(map(str, row.seeds))), ("items", f"{row.n:,} x {row.samples_per_item} samples")]
    if row.difference is not None:
        d = row.difference
        p = f"p = {d.p:.3g}, {d.adjusted:.3g} after Holm's correction ({d.test})"
        found.append((f"against {row.against}", f"{text.difference(row)} points, {p}"))
    found += [(name, text.percent(value)) for name, value in row.extra.items()]
    found.append(("no answer", text.percent(row.no_answer)))
    if row.peak_bytes:
        found.append(("peak memory of training", f"{row.peak_bytes / 2**30:.2f} GiB"))
    for name, value in row.facts.items():
        if value not in (None, "", {}):
            found.append((name.replace("_", " "), _plain(value)))
    return [*found, *(("results", source) for source in row.sources)]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value)
