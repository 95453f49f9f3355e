"""Tables as text: for the terminal (rich), Markdown and CSV. Numbers come ready from leaderboards.table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from leaderboards.table import ALPHA, Row, Table

NONE = "-"
GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how a row fills it."""

    title: str
    cell: Callable[[Row], str]
    left: bool = False

    def width(self, rows: Sequence[Row]) -> int:
        """Characters that the column takes, with the space behind it."""
        return max(len(self.title), *(len(self.cell(row)) for row in rows)) + GAP


def percent(value: float, digits: int = 1) -> str:
    """0.123 as `12.3 %`; a share that is not zero never reads as zero."""
    text = f"{100 * value:.{digits}f}"
    if value > 0 and float(text) == 0:
        return f"<{10**-digits:g} %"
    return f"{text} %"


def accuracy(row: Row) -> str:
    """`62.3 % [58.0, 66.4]`, with a star where too much is ungraded for a headline."""
    return f"{100 * row.accuracy:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]{'' if row.headline else '*'}"


def difference(row: Row) -> str:
    """Percentage points against the baseline with their interval."""
    if row.difference is None:
        return NONE
    d = row.difference
    return f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"


def chance(row: Row) -> str:
    """p after Holm's correction; `=` where the difference may be none."""
    if row.difference is None:
        return NONE
    p = row.difference.adjusted
    text = "<0.001" if p < 0.001 else f"{p:.3f}"
    return text if p < ALPHA else f"{text} ="


def rank(row: Row) -> str:
    """`1`, or `1=` where others cannot be told from it; nothing for a row that is not ranked."""
    return NONE if row.rank is None else f"{row.rank}{'=' if row.tied else ''}"


def name(row: Row) -> str:
    return row.name + (f" [{row.mark}]" if row.mark else "") + (" (paper's recipe)" if row.paper else "")


def amount(value: float | None) -> str:
    """Tokens or steps: 950, 12.3k, 1.23M."""
    if value is None:
        return NONE
    for scale, unit, digits in ((1e9, "G", 2), (1e6, "M", 2), (1e4, "k", 0), (1e3, "k", 1)):
        if value >= scale:
            return f"{value / (1e3 if unit == 'k' else scale):.{digits}f}{unit}"
    return f"{value:g}"


def duration(seconds: float | None) -> str:
    """45 s, 12 min, 3.4 h."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns that say something about these rows."""
    named = Column("method", name, left=True)
    found = [Column("", rank), named] if any(r.rank is not None for r in rows) else [named]
    found.append(Column("accuracy [95 %]", accuracy))
    against = sorted({r.against for r in rows if r.against})
    if against:
        found += [Column(f"vs {'/'.join(against)}, points", difference), Column("p", chance)]
    found += [Column("n", lambda r: f"{r.n:,}"), Column("ungraded", lambda r: percent(r.ungraded))]
    found.append(Column("truncated", lambda r: percent(r.truncated)))
    if any(len(r.seeds) > 1 for r in rows):
        found.append(Column("seeds", lambda r: str(len(r.seeds))))
    for extra in dict.fromkeys(k for r in rows for k in r.extra if k.startswith(("pass@", "maj@")) and k != "pass@1"):
        found.append(Column(extra, partial(_share_of, extra)))
    if any(r.trained for r in rows):
        found += [Column("steps", lambda r: amount(r.steps)), Column("train tokens", lambda r: amount(r.train_tokens))]
        found.append(Column("train time", lambda r: duration(r.train_seconds)))
    if any(r.eval_tokens for r in rows):
        found.append(Column("eval tokens", lambda r: amount(r.eval_tokens)))
    if any(r.eval_seconds is not None for r in rows):
        found.append(Column("eval time", lambda r: duration(r.eval_seconds)))
    return found


def _share_of(extra: str, row: Row) -> str:
    return percent(row.extra[extra]) if extra in row.extra else NONE


def show(tables: Sequence[Table], console: Console) -> None:
    """Print tables, and below each the notes a reader must see. Columns that do not fit follow in a second table."""
    for table in tables:
        console.print(f"\n[bold]{escape(table.task)}[/]  [dim]{escape(table.about)}[/]", highlight=False)
        for block, members in groupby(table.rows, key=lambda r: r.block):
            rows = list(members)
            console.print(block, style="italic", highlight=False, markup=False)
            for part in fitting(columns(rows), rows, console.width):
                console.print(_rich(part, rows))
        for style, lines in (("yellow", warnings(table)), ("dim", legend(table))):
            for line in lines:
                console.print(Padding(Text(line, style=style), (0, 0, 0, 2)))


def fitting(wanted: Sequence[Column], rows: Sequence[Row], width: int) -> list[list[Column]]:
    """The columns in parts that fit the width; every part names its rows."""
    named = next(place for place, column in enumerate(wanted) if column.left)
    parts: list[list[Column]] = [[*wanted[: named + 1]]]
    used = sum(c.width(rows) for c in parts[0])
    for column in wanted[named + 1 :]:
        if used + column.width(rows) - GAP > width and len(parts[-1]) > 1:
            parts.append([wanted[named]])
            used = wanted[named].width(rows)
        parts[-1].append(column)
        used += column.width(rows)
    return parts


def _rich(chosen: Sequence[Column], rows: Sequence[Row]) -> RichTable:
    made = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for column in chosen:
        made.add_column(column.title, justify="left" if column.left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(escape(c.cell(row)) for c in chosen))
    return made


def warnings(table: Table) -> list[str]:
    """What is wrong with rows of the table."""
    found = list(dict.fromkeys(note for row in table.rows for note in row.notes))
    if any(not r.headline for r in table.rows):
        found.append("* too much is ungraded: this number is no headline and the row has no rank")
    return found


def legend(table: Table) -> list[str]:
    """What the signs in the table mean, where they occur."""
    rows, found = table.rows, []
    if any(r.tied for r in rows):
        found.append("= ranks shared: these rows cannot be told apart at p < 0.05 (all pairs, Holm)")
    if any(r.paper for r in rows):
        found.append("(paper's recipe) rows have another recipe than the others and are not ranked beside them")
    tests = sorted({r.difference.test for r in rows if r.difference})
    if tests:
        found.append(f"p: {'; '.join(tests)}; two-sided, paired by question, Holm-corrected over the rows")
    return found


def markdown(tables: Sequence[Table]) -> str:
    """All tables with every column, notes below each."""
    out = ["# Leaderboard", ""]
    for table in tables:
        out += [f"## {table.task}", "", f"{table.about}.", ""]
        for block, members in groupby(table.rows, key=lambda r: r.block):
            rows = list(members)
            chosen = columns(rows)
            out += [f"**{_cell(block)}**", "", _line([c.title or "#" for c in chosen])]
            out.append(_line([":---" if c.left else "---:" for c in chosen]))
            out += [_line([_cell(c.cell(row)) for c in chosen]) for row in rows] + [""]
        out += [f"- {_cell(note)}" for note in (*warnings(table), *legend(table))] + [""]
    return "\n".join(out)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text that Markdown leaves alone: bars and stars would be read as layout."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


CSV_COLUMNS = (
    "task",
    "task_version",
    "protocol",
    "block",
    "model",
    "method",
    "mark",
    "rank",
    "tied",
    "accuracy",
    "ci95_low",
    "ci95_high",
    "n",
    "samples_per_item",
    "seeds",
    "ungraded",
    "truncated",
    "no_answer",
    "headline",
    "paper",
    "against",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_holm",
    "test",
    "steps",
    "train_tokens",
    "train_seconds",
    "eval_tokens",
    "eval_seconds",
    "peak_bytes",
    "extra",
    "sources",
)


def csv_text(tables: Sequence[Table]) -> str:
    """One line per row, unrounded; `extra` is JSON, `seeds` and `sources` are separated by spaces."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for row in table.rows:
            writer.writerow({"task": table.task, "protocol": table.protocol, **_csv_row(row)})
    return out.getvalue()


def _csv_row(row: Row) -> dict[str, object]:
    d = row.difference
    return {
        "task_version": row.facts.get("task_version"),
        "block": row.block,
        "model": row.model,
        "method": row.name,
        "mark": row.mark,
        "rank": row.rank,
        "tied": row.tied,
        "accuracy": row.accuracy,
        "ci95_low": row.low,
        "ci95_high": row.high,
        "n": row.n,
        "samples_per_item": row.samples_per_item,
        "seeds": " ".join(map(str, row.seeds)),
        "ungraded": row.ungraded,
        "truncated": row.truncated,
        "no_answer": row.no_answer,
        "headline": row.headline,
        "paper": row.paper,
        "against": row.against,
        **(
            {
                "difference": d.value,
                "difference_low": d.low,
                "difference_high": d.high,
                "p": d.p,
                "p_holm": d.adjusted,
                "test": d.test,
            }
            if d
            else {}
        ),
        "steps": row.steps,
        "train_tokens": row.train_tokens,
        "train_seconds": row.train_seconds,
        "eval_tokens": row.eval_tokens,
        "eval_seconds": row.eval_seconds,
        "peak_bytes": row.peak_bytes,
        "extra": json.dumps(row.extra),
        "sources": " ".join(row.sources),
    }
