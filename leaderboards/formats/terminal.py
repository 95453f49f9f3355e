"""Tables in the terminal (rich). Columns that do not fit follow in a second table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from leaderboards.formats import cells
from leaderboards.formats.cells import GAP, Column
from leaderboards.table import Board, Table

PUBLISHED_SHOWN = 6


def show(board: Board, console: Console) -> None:
    """Print the averages, then the tables, and below each the notes a reader must see."""
    for average in board.averages:
        console.print(f"\n[bold]Average[/]  [dim]{escape(average.title)}[/]", highlight=False)
        _parts(cells.average_columns(average), average.rows, console)
        _notes(console, "dim", cells.average_notes(average, board.comparisons))
    for table in board.tables:
        console.print(f"\n[bold]{escape(table.task)}[/]  [dim]{escape(table.about)}[/]", highlight=False)
        for title, rows in cells.blocks(table):
            console.print(title, style="italic", highlight=False, markup=False)
            _parts(cells.columns(rows), rows, console)
        _published(table, console)
        _notes(console, "yellow", cells.warnings(table))
        _notes(console, "dim", cells.legend(table, board.comparisons))
    for reason in board.refused:
        console.print(reason, style="red", highlight=False, soft_wrap=True, markup=False)


def _published(table: Table, console: Console) -> None:
    """Published rows of our policies and methods; all of them are in the files."""
    names = {row.name for row in table.rows}
    shown = [p for p in table.published if p.same_model or p.method in names][:PUBLISHED_SHOWN]
    if shown:
        console.print(_rich(cells.published_columns(), shown))
    if rest := len(table.published) - len(shown):
        _notes(console, "dim", [f"{rest} {'more ' if shown else ''}published rows of this task are in the files"])


def _notes(console: Console, style: str, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(Padding(Text(line, style=style), (0, 0, 0, 2), expand=False))


def _parts(wanted: Sequence[Column], rows: Sequence[Any], console: Console) -> None:
    for part in fitting(wanted, rows, console.width):
        console.print(_rich(part, rows))


def fitting(wanted: Sequence[Column], rows: Sequence[Any], width: int) -> list[list[Column]]:
    """The columns in parts that fit the width; every part names its rows, which the first column does."""
    named = wanted[0]
    parts: list[list[Column]] = [[named]]
    used = named.width(rows)
    for column in wanted[1:]:
        if used + column.width(rows) - GAP > width and len(parts[-1]) > 1:
            parts.append([named])
            used = named.width(rows)
        parts[-1].append(column)
        used += column.width(rows)
    return parts


def _rich(chosen: Sequence[Column], rows: Sequence[Any]) -> RichTable:
    made = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for column in chosen:
        made.add_column(column.title, justify="left" if column.left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(escape(c.cell(row)) for c in chosen))
    return made
