"""Averages over benchmarks, as in papers' tables: every benchmark weighs the same, whatever its number of questions.

In: the blocks of every task. Out: per block one table of methods by tasks, with the interval of the average over seeds and
questions, paired differences, groups of ties, and on what a conclusion depends: on a benchmark, on the weights or on the
protocol.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from leaderboards.blocks import Block
from leaderboards.conditions import decoding
from leaderboards.groups import Group, mark
from leaderboards.stats.differences import ALPHA, Difference, Scores, compare
from leaderboards.stats.intervals import interval
from leaderboards.stats.letters import letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A row on one benchmark: accuracy with its interval, in [0, 1]."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageRow:
    """A method over benchmarks. `cells` by column; `average` None where a benchmark is missing (`missing` names them) or
    no headline stands. `tokens`: sampled in training, None where nothing was trained."""

    name: str
    mark: str
    seeds: tuple[int, ...]
    trained: bool
    paper: bool
    cells: Mapping[str, Cell]
    missing: tuple[str, ...]
    average: float | None = None
    low: float | None = None
    high: float | None = None
    difference: Difference | None = None
    against: str = ""
    letters: str | None = None
    depends: tuple[str, ...] = ()
    tokens: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """One block over its benchmarks. `columns`: a name per benchmark; `pairs`: places of rows and their difference, but for
    those with the baseline, which stands at `base`; both serve to find the letters."""

    title: str
    key: str
    columns: tuple[str, ...]
    rows: tuple[AverageRow, ...]
    pairs: tuple[tuple[int, int, Difference], ...]
    base: int | None = None

    def differences(self) -> list[Difference]:
        """To the baseline, in the order of the rows."""
        return [r.difference for r in self.rows if r.difference]

    def corrected(self, ps: Iterator[float]) -> Average:
        """With adjusted p-values, taken in the order of `differences`."""
        rows = [
            replace(r, difference=replace(r.difference, adjusted=next(ps))) if r.difference else r for r in self.rows
        ]
        return replace(self, rows=tuple(rows))

    def lettered(self, ps: Sequence[float]) -> Average:
        """With groups of ties from the adjusted p-values of `pairs`; best row first."""
        able = sorted((i for i, r in enumerate(self.rows) if _ranked(r)), key=lambda i: -(self.rows[i].average or 0))
        rows = list(self.rows)
        if len(able) > 1:
            apart = {frozenset((i, j)) for (i, j, _), p in zip(self.pairs, ps, strict=True) if p < ALPHA}
            if self.base is not None:
                parted = [i for i, r in enumerate(self.rows) if r.difference and r.difference.adjusted < ALPHA]
                apart |= {frozenset((i, self.base)) for i in parted}
            pairs = {(a, b) for a in range(len(able)) for b in range(a) if {able[a], able[b]} in apart}
            for place, text in zip(able, letters(len(able), pairs), strict=True):
                rows[place] = replace(rows[place], letters=text)
        rows.sort(key=lambda r: (r.average is None, -(r.average or 0), r.name, r.mark))
        return replace(self, rows=tuple(rows), pairs=(), base=None)


def _ranked(row: AverageRow) -> bool:
    return row.average is not None and not row.paper


def averages(parts: Sequence[tuple[Mapping[str, Any], Sequence[Block]]]) -> list[Average]:
    """One Average per block that stands on two benchmarks or more. `parts`: results of any row, and blocks, per task."""
    found: dict[tuple[str, str], dict[str, Block]] = defaultdict(dict)
    for results, blocks in parts:
        for block in blocks:
            columns = found[block.key, str(results["protocol"])]
            name = column(results)
            if name not in columns or len(block.groups) > len(columns[name].groups):
                columns[name] = block
    return [
        _average(key, protocol, columns)
        for (key, protocol), columns in found.items()
        if len(columns) > 1 and len({c.partition(" ")[0] for c in columns}) > 1
    ]


def column(results: Mapping[str, Any]) -> str:
    """The task, and how often each item was answered where it was more than once."""
    count = decoding(results).get("n", 1)
    return str(results["task"]) + (f" avg@{count}" if count > 1 else "")


def _average(key: str, protocol: str, columns: Mapping[str, Block]) -> Average:
    names = tuple(columns)
    members: dict[tuple[Any, ...], dict[str, Group]] = defaultdict(dict)
    twice = set()
    for name, block in columns.items():
        for group in block.groups:
            row = (group.name, group.model, group.run.get("config", ""), group.paper)
            if name in members[row]:
                twice.add(row)  # two recorded rows of one name: which of them belong together nobody wrote down
            members[row][name] = group
    for row in twice:
        del members[row]
    rows = [_row(found, names, [next(iter(m.values())) for m in members.values()]) for found in members.values()]
    base = next((m for m in members.values() if _is_base(m, columns) and _complete(m, names)), None)
    if base is not None:
        rows = [
            r if m is base or r.average is None else _compared(r, m, base, names)
            for r, m in zip(rows, members.values(), strict=True)
        ]
    place = next((i for i, m in enumerate(members.values()) if m is base), None)
    able = [(i, m) for i, (r, m) in enumerate(zip(rows, members.values(), strict=True)) if _ranked(r) and i != place]
    pairs = [
        (i, j, compare(_scores(a, names), _scores(b, names)))
        for number, (i, a) in enumerate(able)
        for j, b in able[number + 1 :]
    ]
    title = f"{next(iter(columns.values())).title}, {protocol}"
    return Average(title=title, key=key, columns=names, rows=tuple(rows), pairs=tuple(pairs), base=place)


def _is_base(found: Mapping[str, Group], columns: Mapping[str, Block]) -> bool:
    return all(columns[name].base is group for name, group in found.items())


def _complete(found: Mapping[str, Group], names: Sequence[str]) -> bool:
    return all(n in found and found[n].headline for n in names) and bool(common_seeds(found, names))


def common_seeds(found: Mapping[str, Group], names: Sequence[str]) -> tuple[int, ...]:
    """Seeds that were run on every benchmark; one where the row is the same under any seed on some."""
    sets = [set(found[n].seeds) for n in names if n in found and not found[n].scores.fixed]
    return tuple(sorted(set.intersection(*sets))) if sets else found[names[0]].seeds


def _scores(found: Mapping[str, Group], names: Sequence[str], protocol: str = "") -> list[Scores]:
    """The common seeds on every benchmark, line by line; a row that no seed changes is repeated."""
    seeds = common_seeds(found, names)
    chosen = [(found[n].under(protocol) if protocol else None) or found[n].scores for n in names]
    fixed = all(s.fixed for s in chosen)
    return [
        replace(
            s,
            matrix=s.matrix
            if fixed
            else np.repeat(s.matrix, len(seeds), 0)
            if s.fixed
            else s.matrix[[s.seeds.index(k) for k in seeds]],
            seeds=seeds,
            fixed=fixed,
        )
        for s in chosen
    ]


def _row(found: Mapping[str, Group], names: Sequence[str], siblings: Sequence[Group]) -> AverageRow:
    first = next(iter(found.values()))
    cells = {}
    for name, group in found.items():
        low, high = interval([group.scores.matrix], group.scores.single)
        cells[name] = Cell(accuracy=float(group.scores.matrix.mean()), low=low, high=high)
    row = AverageRow(
        name=first.name,
        mark=mark(first, siblings),
        seeds=first.seeds,
        trained=first.trained,
        paper=first.paper,
        cells=cells,
        missing=_missing(found, names),
        tokens=first.mean("run", "train_tokens") if first.trained else None,
        seconds=first.mean("run", "train_seconds") if first.trained else None,
    )
    if row.missing:
        return row
    parts = [s.matrix for s in _scores(found, names)]
    low, high = interval(parts, False)
    seeds = common_seeds(found, names)
    return replace(row, seeds=seeds, average=sum(float(p.mean()) for p in parts) / len(parts), low=low, high=high)


def _missing(found: Mapping[str, Group], names: Sequence[str]) -> tuple[str, ...]:
    """Why there is no average."""
    absent = [n for n in names if n not in found]
    absent += [f"a headline on {n}" for n in names if n in found and not found[n].headline]
    return tuple(absent) if absent or common_seeds(found, names) else ("a seed that was run on every benchmark",)


def _compared(
    row: AverageRow, ours: Mapping[str, Group], theirs: Mapping[str, Group], names: Sequence[str]
) -> AverageRow:
    difference = compare(_scores(ours, names), _scores(theirs, names))
    base = next(iter(theirs.values())).name
    return replace(row, difference=difference, against=base, depends=depends(ours, theirs, names, difference))


def depends(
    ours: Mapping[str, Group], theirs: Mapping[str, Group], names: Sequence[str], whole: Difference
) -> tuple[str, ...]:
    """What the conclusion (better, worse, cannot be told; p < 0.05 before Holm) depends on, a sentence part each."""
    said, first = [], verdict(whole)
    if len(names) > 2:
        for left in names:
            kept = [n for n in names if n != left]
            other = verdict(compare(_scores(ours, kept), _scores(theirs, kept)))
            if other != first:
                said.append(f"without {left}: {other}")
    items = [ours[n].scores.matrix.shape[1] for n in names]
    if len(set(items)) > 1:
        weights = [i / sum(items) for i in items]
        other = verdict(compare(_scores(ours, names), _scores(theirs, names), weights))
        if other != first:
            said.append(f"weighted by questions: {other}")
    for protocol in _protocols(ours, theirs, names):
        other = verdict(compare(_scores(ours, names, protocol), _scores(theirs, names, protocol)))
        if other != first:
            said.append(f"under {protocol}: {other}")
    return tuple(said)


def _protocols(ours: Mapping[str, Group], theirs: Mapping[str, Group], names: Sequence[str]) -> list[str]:
    """Other protocols by which every sample of both was graded."""
    own = str(next(iter(ours.values())).results["protocol"])
    sets = [set(m.scores.by_protocol) for side in (ours, theirs) for n in names for m in side[n].members]
    return sorted(set.intersection(*sets) - {own})


def verdict(difference: Difference) -> str:
    """`better`, `worse` or `cannot be told`."""
    if difference.p >= ALPHA:
        return "cannot be told"
    return "better" if difference.value > 0 else "worse"
