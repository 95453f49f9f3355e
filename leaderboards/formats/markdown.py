"""Tables as Markdown, with every column and the notes below each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leaderboards.formats import cells
from leaderboards.formats.cells import Column
from leaderboards.table import Board


def markdown(board: Board) -> str:
    """Averages first, then a section per task."""
    out = ["# Leaderboard", ""]
    for average in board.averages:
        out += ["## Average over benchmarks", "", f"**{_cell(average.title)}**", ""]
        out += _table(cells.average_columns(average), average.rows)
        out += [f"- {_cell(note)}" for note in cells.average_notes(average, board.comparisons)] + [""]
    for table in board.tables:
        out += [f"## {table.task}", "", f"{table.about}.", ""]
        for title, rows in cells.blocks(table):
            out += [f"**{_cell(title)}**", "", *_table(cells.columns(rows), rows)]
        if table.published:
            out += ["**published by others**", "", *_table(cells.published_columns(), table.published)]
        notes = (*cells.warnings(table), *cells.legend(table, board.comparisons))
        out += [f"- {_cell(note)}" for note in notes] + [""]
    if board.refused:
        out += ["## Left out", "", *(f"- {_cell(reason)}" for reason in board.refused), ""]
    return "\n".join(out)


def _table(chosen: Sequence[Column], rows: Sequence[Any]) -> list[str]:
    lines = [_line([c.title for c in chosen]), _line([":---" if c.left else "---:" for c in chosen])]
    return [*lines, *(_line([_cell(c.cell(row)) for c in chosen]) for row in rows), ""]


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def _cell(text: str) -> str:
    """Text that Markdown leaves alone: bars and stars would be read as layout, angle brackets as HTML."""
    for sign in "\\|*_<`[":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
