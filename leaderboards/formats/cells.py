"""How the numbers of a row read: cells, columns, notes and legends, the same in every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from leaderboards.averages import Average, AverageRow, Cell
from leaderboards.published import Published
from leaderboards.rows import Row
from leaderboards.stats.differences import ALPHA, Difference
from leaderboards.table import Table

NONE = "-"
GAP = 2
ONE_SEED = "†"
PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how a row fills it; `value` is the number behind the text, for sorting."""

    title: str
    cell: Callable[[Any], str]
    left: bool = False
    value: Callable[[Any], float | None] | None = None

    def width(self, rows: Sequence[Any]) -> int:
        """Characters that the column takes, with the space behind it."""
        return max(len(self.title), *(len(self.cell(row)) for row in rows)) + GAP


def percent(value: float, digits: int = 1) -> str:
    """0.123 as `12.3 %`; a share that is not zero never reads as zero."""
    text = f"{100 * value:.{digits}f}"
    if value > 0 and float(text) == 0:
        return f"<{10**-digits:g} %"
    return f"{text} %"


def spread(value: float, low: float, high: float) -> str:
    """`62.3 % [58.0, 66.4]`."""
    return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def accuracy(row: Row) -> str:
    """With a star where too much is ungraded for a headline."""
    return f"{spread(row.accuracy, row.low, row.high)}{'' if row.headline else '*'}"


def points(d: Difference | None) -> str:
    """Percentage points against the baseline with their interval."""
    return NONE if d is None else f"{100 * d.value:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"


def chance(d: Difference | None) -> str:
    """p after Holm's correction; `=` where the difference may be none."""
    if d is None:
        return NONE
    p = d.adjusted
    text = "<0.001" if p < 0.001 else f"{p:.3f}"
    return text if p < ALPHA else f"{text} ="


def name(row: Row | AverageRow) -> str:
    """Name, mark, and a dagger where one seed was run of what has seeds."""
    text = row.name + (f" [{row.mark}]" if row.mark else "") + (" (paper's recipe)" if row.paper else "")
    return text + (ONE_SEED if row.trained and len(row.seeds) == 1 else "")


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
    found = [Column("method", name, left=True), Column("accuracy [95 %]", accuracy, value=lambda r: r.accuracy)]
    if any(r.letters for r in rows):
        found.append(Column("ties", lambda r: r.letters or NONE, left=True))
    found += _comparison(rows)
    found += [
        Column("n", lambda r: f"{r.n:,}", value=lambda r: r.n),
        Column("ungraded", lambda r: percent(r.ungraded), value=lambda r: r.ungraded),
        Column("no mark", lambda r: percent(r.no_mark), value=lambda r: r.no_mark),
        Column("truncated", lambda r: percent(r.truncated), value=lambda r: r.truncated),
    ]
    if any(len(r.seeds) > 1 for r in rows):
        found.append(Column("seeds", lambda r: str(len(r.seeds)), value=lambda r: len(r.seeds)))
        sd = Column(
            "seed sd", lambda r: NONE if r.seed_sd is None else f"{100 * r.seed_sd:.1f}", value=lambda r: r.seed_sd
        )
        found.append(sd)
    for extra in dict.fromkeys(k for r in rows for k in r.extra if k.startswith(("pass@", "maj@")) and k != "pass@1"):
        found.append(Column(extra, partial(_share_of, extra), value=partial(_extra, extra)))
    return found + _costs(rows)


def _comparison(rows: Sequence[Any]) -> list[Column]:
    against = sorted({r.against for r in rows if r.difference})
    if not against:
        return []
    return [
        Column(
            f"vs {'/'.join(against)}, points",
            lambda r: points(r.difference),
            value=lambda r: r.difference.value if r.difference else None,
        ),
        Column("p", lambda r: chance(r.difference), value=lambda r: r.difference.adjusted if r.difference else None),
    ]


def _costs(rows: Sequence[Row]) -> list[Column]:
    found = []
    if any(r.trained for r in rows):
        found += [
            Column("steps", lambda r: amount(r.steps), value=lambda r: r.steps),
            Column("train tokens", lambda r: amount(r.train_tokens), value=lambda r: r.train_tokens),
            Column("train time", lambda r: duration(r.train_seconds), value=lambda r: r.train_seconds),
        ]
    if any(r.eval_tokens for r in rows):
        found.append(Column("eval tokens", lambda r: amount(r.eval_tokens), value=lambda r: r.eval_tokens))
    if any(r.eval_seconds is not None for r in rows):
        found.append(Column("eval time", lambda r: duration(r.eval_seconds), value=lambda r: r.eval_seconds))
    return found


def _extra(extra: str, row: Row) -> float | None:
    return row.extra.get(extra)


def _share_of(extra: str, row: Row) -> str:
    return percent(row.extra[extra]) if extra in row.extra else NONE


def average_columns(average: Average) -> list[Column]:
    """Method, average, difference, p, ties, then a column per benchmark."""
    found = [Column("method", name, left=True), Column("average [95 %]", mean, value=lambda r: r.average)]
    if any(r.letters for r in average.rows):
        found.append(Column("ties", lambda r: r.letters or NONE, left=True))
    found += _comparison(average.rows)
    found.append(Column("seeds", lambda r: str(len(r.seeds)), value=lambda r: len(r.seeds)))
    found += [Column(task, partial(cell, task), value=partial(_cell_value, task)) for task in average.columns]
    return found


def _cell_value(task: str, row: AverageRow) -> float | None:
    found = row.cells.get(task)
    return None if found is None else found.accuracy


def mean(row: AverageRow) -> str:
    if row.average is None or row.low is None or row.high is None:
        return NONE
    return spread(row.average, row.low, row.high)


def cell(task: str, row: AverageRow) -> str:
    """Accuracy and half of its interval's width."""
    found: Cell | None = row.cells.get(task)
    return NONE if found is None else f"{100 * found.accuracy:.1f} ±{50 * (found.high - found.low):.1f}"


def published_columns() -> list[Column]:
    """What a published row says; it has no interval and no rank."""
    return [
        Column(f"{PUBLISHED}, model", lambda r: r.model, left=True),
        Column("method", lambda r: r.method or NONE, left=True),
        Column("score", _score),
        Column("protocol and prompt, as far as said", lambda r: r.protocol, left=True),
        Column("source", lambda r: r.source, left=True),
    ]


def _score(row: Published) -> str:
    return f"{100 * row.score:.1f} %{f' ({row.metric})' if row.metric else ''}"


def blocks(table: Table) -> Iterator[tuple[str, list[Row]]]:
    """Titles with their rows."""
    for (title, _), members in groupby(table.rows, key=lambda r: (r.block, r.key)):
        yield title, list(members)


def warnings(table: Table) -> list[str]:
    """What is wrong with rows of the table."""
    found = list(dict.fromkeys(note for row in table.rows for note in row.notes))
    if any(not r.headline for r in table.rows):
        found.append("* too much is ungraded: this number is no headline and the row has no rank and no difference")
    return found


def legend(table: Table, comparisons: int = 0) -> list[str]:
    """What the signs in the table mean, where they occur."""
    rows, found = table.rows, []
    if any(r.letters for r in rows):
        found.append(
            "ties: rows of a block that share a letter cannot be told apart, rows that share none differ "
            f"(p < {ALPHA:g}: against the baseline the p shown, else all other pairs of all tables, Holm)"
        )
    if any(r.letters == "" for r in rows):
        found.append(
            "ties: these rows overlap in too many ways to be named by letters; --baseline compares with one row"
        )
    if any(r.paper for r in rows):
        found.append("(paper's recipe) rows have another recipe than the others and are not ranked beside them")
    found += _seeds([(len(r.seeds), r.trained) for r in rows])
    if any(r.seed_sd is not None for r in rows):
        found.append("seed sd: points by which seeds differ beyond what chance within a seed explains")
    if any(r.no_mark > 0 for r in rows):
        found.append(
            "no mark: samples without a marked final answer, by the strict rule, whatever the protocol of the table"
        )
    differences = [r.difference for r in rows if r.difference]
    if differences:
        tests = "; ".join(sorted({d.test for d in differences}))
        found.append(f"p: {tests}; two-sided, paired by question, Holm over the {comparisons} comparisons shown")
        found.append(
            f"a true difference below {_least(differences)} points is found in less than 80 % of such comparisons"
        )
    if table.published:
        found.append("published rows are what others reported with graders, prompts and decoding of their own: no rank")
    return found


def _seeds(rows: Sequence[tuple[int, bool]]) -> list[str]:
    found = []
    counts = {count for count, trained in rows if trained}
    if 1 in counts:
        found.append(f"{ONE_SEED} one seed: interval and p hold for this policy and say nothing about another seed")
    if 2 in counts:
        found.append(
            "two seeds tell little about a third: where seeds matter much, intervals are too narrow (docs/statistics.md)"
        )
    return found


def _least(differences: Sequence[Difference]) -> str:
    low, high = (f"{100 * f(d.detectable for d in differences):.1f}" for f in (min, max))
    return low if low == high else f"{low} to {high} (by row)"


def average_notes(average: Average, comparisons: int = 0) -> list[str]:
    """What the average is, what is missing, and on what conclusions depend."""
    found = [
        f"average: mean of the {len(average.columns)} benchmarks, each with the same weight; ± is half of a 95 % interval"
    ]
    if any(r.letters for r in average.rows):
        found.append(f"ties: rows that share a letter cannot be told apart (p < {ALPHA:g}, as below)")
    found += _seeds([(len(r.seeds), r.trained) for r in average.rows])
    found += [f"{name(r)}: no average, lacks {', '.join(r.missing)}" for r in average.rows if r.missing]
    differences = average.differences()
    if differences:
        found.append(f"p: {differences[0].test}; Holm over the {comparisons} comparisons shown")
    found += [
        f"{name(r)} against {r.against}: the conclusion depends on what is averaged ({'; '.join(r.depends)})"
        for r in average.rows
        if r.depends
    ]
    return found
