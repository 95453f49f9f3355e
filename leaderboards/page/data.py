"""A board as plain values for the page: every cell with its text and the number that it sorts by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaderboards.averages import Average
from leaderboards.conditions import get
from leaderboards.formats import cells
from leaderboards.groups import Read
from leaderboards.page.curves import trained_runs
from leaderboards.page.tokens import logged_steps
from leaderboards.rows import Row
from leaderboards.table import Board, Table


def board_data(board: Board, methods: Sequence[str]) -> dict[str, Any]:
    """What the page needs to open: averages, tables, and the list of evaluations whose samples it can ask for."""
    places = {str(member.folder): k for k, member in enumerate(board.evaluations)}
    return {
        "comparisons": board.comparisons,
        "refused": list(board.refused),
        "averages": [_average(a, board.comparisons) for a in board.averages],
        "tables": [_table(t, places, board.comparisons) for t in board.tables],
        "evaluations": [_evaluation(k, member) for k, member in enumerate(board.evaluations)],
        "curves": len(trained_runs(board.evaluations)),
        "tokens": _tokens(board.evaluations),
        "methods": list(methods),
    }


def _tokens(evaluations: Sequence[Read]) -> list[dict[str, Any]]:
    runs = [(folder, facts) for folder, facts in trained_runs(evaluations).items() if logged_steps(folder)]
    return [
        {"i": k, "name": facts.get("label") or facts.get("method"), "seed": facts.get("seed"), "folder": str(folder)}
        for k, (folder, facts) in enumerate(runs)
    ]


def token_runs(evaluations: Sequence[Read]) -> list[Path]:
    """Run folders with logged token signals, in the order of the page's list."""
    return [folder for folder in trained_runs(evaluations) if logged_steps(folder)]


def _evaluation(place: int, member: Read) -> dict[str, Any]:
    run = member.results.get("run") or {}
    accuracy = member.results["metrics"]["accuracy"]
    return {
        "i": place,
        "name": str(run.get("label") or run.get("method") or member.folder.name),
        "seed": run.get("seed"),
        "model": str(run.get("model") or ""),
        "task": str(member.results["task"]),
        "protocol": str(member.results["protocol"]),
        "accuracy": accuracy["value"],
        "samples": member.results["samples"],
        "content": get(member.results, "generation", "content"),
        "folder": str(member.folder),
    }


def _cell(column: cells.Column, row: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"t": column.cell(row)}
    if column.value is not None:
        found["v"] = column.value(row)
    return found


def _columns(chosen: Sequence[cells.Column]) -> list[dict[str, Any]]:
    return [{"title": c.title, "left": c.left, "number": c.value is not None} for c in chosen]


def _average(average: Average, comparisons: int) -> dict[str, Any]:
    rows = []
    for row in average.rows:
        d = row.difference
        rows.append(
            {
                "name": cells.name(row),
                "method": row.name,
                "letters": row.letters or "",
                "seeds": len(row.seeds),
                "average": _interval(row.average, row.low, row.high),
                "cells": {n: [c.accuracy, c.low, c.high] for n, c in row.cells.items()},
                "difference": None if d is None else [d.value, d.low, d.high],
                "p": cells.chance(d),
                "against": row.against,
                "base": not row.trained,
                "missing": list(row.missing),
                "tokens": row.tokens,
                "seconds": row.seconds,
            }
        )
    notes = cells.average_notes(average, comparisons)
    return {"title": average.title, "columns": list(average.columns), "rows": rows, "notes": notes}


def _interval(value: float | None, low: float | None, high: float | None) -> list[float] | None:
    return None if value is None or low is None or high is None else [value, low, high]


def _table(table: Table, places: Mapping[str, int], comparisons: int) -> dict[str, Any]:
    blocks = []
    for title, rows in cells.blocks(table):
        chosen = [c for c in cells.columns(rows) if c.title != "method"]
        blocks.append(
            {
                "title": title,
                "columns": _columns(chosen),
                "rows": [_row(row, chosen, places) for row in rows],
                "categories": _categories(rows),
            }
        )
    return {
        "id": table.id,
        "task": table.task,
        "protocol": table.protocol,
        "about": table.about,
        "blocks": blocks,
        "published": [
            {
                "model": p.model,
                "method": p.method,
                "score": p.score,
                "metric": p.metric,
                "protocol": p.protocol,
                "source": p.source,
            }
            for p in table.published
        ],
        "warnings": cells.warnings(table),
        "legend": cells.legend(table, comparisons),
    }


def _row(row: Row, chosen: Sequence[cells.Column], places: Mapping[str, int]) -> dict[str, Any]:
    return {
        "name": cells.name(row),
        "method": row.name,
        "interval": [row.accuracy, row.low, row.high],
        "cells": [_cell(column, row) for column in chosen],
        "evaluations": [places[s] for s in row.sources if s in places],
        "headline": row.headline,
        "base": not row.trained and not row.outside,
        "tokens": row.train_tokens,
        "length": row.length,
        "details": details(row),
    }


def details(row: Row) -> list[list[str]]:
    """What a row stands on, as labels and values."""
    found = [["model", row.model], ["seeds", ", ".join(map(str, row.seeds))]]
    found.append(["items", f"{row.n:,} x {row.samples_per_item} samples"])
    if row.difference is not None:
        d = row.difference
        p = f"p = {d.p:.3g}, {d.adjusted:.3g} after Holm's correction ({d.test})"
        found.append([f"against {row.against}", f"{cells.points(d)} points, {p}"])
        found.append(["found in 80 % of such comparisons", f"true differences from {100 * d.detectable:.1f} points"])
    found += [[name, cells.percent(value)] for name, value in row.extra.items()]
    found.append(["without a marked answer", cells.percent(row.no_mark)])
    found.append(["without an answer by the table's protocol", cells.percent(row.no_answer)])
    if row.length:
        found.append(["tokens of a response, mean", f"{row.length:.1f}"])
    if row.peak_bytes:
        found.append(["peak memory of training", f"{row.peak_bytes / 2**30:.2f} GiB"])
    for name, value in row.facts.items():
        if value not in (None, "", {}):
            found.append([name.replace("_", " "), _plain(value)])
    return [*found, *(["results", source] for source in row.sources)]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _categories(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Per category: its values with n, and the accuracy of every row on each."""
    found = []
    for category in dict.fromkeys(c for r in rows for c in r.categories):
        values: dict[str, int] = {}
        for row in rows:
            values |= {v: n for v, (_, n) in row.categories.get(category, {}).items()}
        lines = [
            {"value": v, "n": n, "scores": [_score(row.categories.get(category, {}), v) for row in rows]}
            for v, n in sorted(values.items(), key=lambda item: _natural(item[0]))
        ]
        found.append({"name": category, "lines": lines})
    return found


def _score(scores: Mapping[str, tuple[float, int]], value: str) -> float | None:
    return scores[value][0] if value in scores else None


def _natural(value: str) -> tuple[int, float, str]:
    """Numbers in order of size, before words."""
    return (0, float(value), "") if value.replace(".", "", 1).isdecimal() else (1, 0.0, value)
