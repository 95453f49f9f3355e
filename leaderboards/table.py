"""Finished evaluations in, tables out: which rows may stand in one table, intervals, differences, groups of ties.

One table holds what answered the same questions in the same way: task, version, items, protocol, verifier and decoding are
equal. Inside it a block holds one start policy under one recipe and the same conditions, because only there a difference is
one between methods. p-values are corrected over everything that is shown: all tables and averages together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.core.config import digest
from harness.core.runs import Finished
from leaderboards.averages import Average, averages, depends
from leaderboards.blocks import Block, blocks
from leaderboards.conditions import decoding, differing, get
from leaderboards.groups import Group, Read, groups, mark, read
from leaderboards.published import Published, published
from leaderboards.rows import Row, row
from leaderboards.stats.differences import ALPHA, Difference, compare, holm
from leaderboards.stats.letters import letters

__all__ = ["ALPHA", "Board", "Row", "Table", "build"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One task under one protocol and decoding; `rows` block by block, best first; `published`: what others reported."""

    id: str
    task: str
    protocol: str
    n: int
    about: str
    rows: tuple[Row, ...]
    published: tuple[Published, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """All tables, the averages over tasks, and why evaluations were left out. `comparisons`: how many p-values were
    corrected together. `evaluations`: what the rows stand on."""

    tables: tuple[Table, ...]
    averages: tuple[Average, ...]
    refused: tuple[str, ...]
    comparisons: int
    evaluations: tuple[Read, ...]

    @property
    def names(self) -> set[str]:
        """Names of rows."""
        return {r.name for t in self.tables for r in t.rows}


@dataclass(frozen=True, slots=True)
class _Part:
    """One task before its comparisons are corrected."""

    results: Mapping[str, Any]
    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]


def build(
    evaluations: Sequence[Finished],
    baseline: str = "base",
    refused: Sequence[str] = (),
    *,
    tasks: Sequence[str] = (),
    model: str = "",
) -> Board:
    """Tables in order of their task. `tasks` and `model` choose what is shown, by name or a part of it."""
    chosen = [e for e in evaluations if _wanted(e.results, tasks, model)]
    kept, why = read(chosen)
    keyed: dict[tuple[str, str, str], list[Read]] = defaultdict(list)
    for member in kept:
        keyed[same_questions(member.results)].append(member)
    parts, said = [], [*refused, *why]
    for _, members in sorted(keyed.items(), key=lambda t: t[0]):
        found, unlike = groups(members)
        said += unlike
        same, odd = _same_items(found)
        said += odd
        parts.append(_Part(same[0].results, tuple(same), tuple(blocks(same, baseline))))
    return _finished(parts, said, kept)


def _wanted(results: Mapping[str, Any], tasks: Sequence[str], model: str) -> bool:
    task, name = str(results.get("task", "")), str(get(results, "run", "model") or "")
    return (not tasks or any(task == t or task.startswith(f"{t}-") for t in tasks)) and model.lower() in name.lower()


def same_questions(results: Mapping[str, Any]) -> tuple[str, str, str]:
    """What rows of one table have in common: task, protocol, and a digest of items, golds, rules and decoding."""
    content = get(results, "generation", "content")
    graded = [results.get("task_version"), results.get("verifier"), results.get("grading")]
    same = [*graded, content, decoding(results)]
    return str(results["task"]), str(results["protocol"]), digest(*same)


def _same_items(found: Sequence[Group]) -> tuple[list[Group], list[str]]:
    """The rows that hold the items which most rows hold; others cannot be compared with them."""
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for group in found:
        counts[group.ids] += 1
    most = max(counts, key=lambda ids: counts[ids])
    odd = [
        f"{g.members[0].folder} is left out: it holds other items than its table although its key is the same"
        for g in found
        if g.ids != most
    ]
    return [g for g in found if g.ids == most], odd


def _finished(parts: Sequence[_Part], refused: Sequence[str], kept: Sequence[Read]) -> Board:
    """Rows with their comparisons, corrected over all tables and averages."""
    rows: list[list[Row]] = []
    against: list[tuple[int, int, Difference]] = []
    pairs: list[tuple[int, int, int, Difference]] = []
    for number, part in enumerate(parts):
        rows.append([])
        for block in part.blocks:
            start = len(rows[number])
            for group in block.groups:
                found = row(block.title, block.key, group, mark(group, block.groups))
                rows[number].append(_against(found, group, block))
            for i, difference, said in _to_base(block):
                against.append((number, start + i, difference))
                rows[number][start + i] = _depending(rows[number][start + i], said)
            pairs += [(number, start + i, start + j, d) for i, j, d in _pairs(block)]
    means = averages([(p.results, p.blocks) for p in parts])
    adjusted = iter(holm([d.p for _, _, d in against] + [d.p for a in means for d in a.differences()]))
    for (number, place, difference), p in zip(against, adjusted, strict=False):
        rows[number][place] = replace(rows[number][place], difference=replace(difference, adjusted=p))
    means = [a.corrected(adjusted) for a in means]
    parted = holm([d.p for *_, d in pairs] + [d.p for a in means for *_, d in a.pairs])
    _letter(rows, [(n, i, j) for (n, i, j, _), p in zip(pairs, parted, strict=False) if p < ALPHA], _base_places(parts))
    rest = iter(parted[len(pairs) :])
    means = [a.lettered([next(rest) for _ in a.pairs]) for a in means]
    return Board(
        tables=tuple(_table(part, found) for part, found in zip(parts, rows, strict=True)),
        averages=tuple(means),
        refused=tuple(refused),
        comparisons=len(against) + sum(len(a.differences()) for a in means),
        evaluations=tuple(kept),
    )


def _against(found: Row, group: Group, block: Block) -> Row:
    """Names the baseline of a row, and says where it was made under other conditions."""
    base = block.base
    if base is None or base is group or not (group.headline and base.headline):
        return found
    notes = list(found.notes)
    if differ := differing(group.conditions, base.conditions):
        notes.append(f"{group.name}: compared with {base.name} under other conditions: {differ}")
    return replace(found, against=base.name, notes=tuple(notes))


def _depending(found: Row, said: Sequence[str]) -> Row:
    """With a note where its conclusion depends on the protocol."""
    if not said:
        return found
    note = f"{found.name} against {found.against}: the conclusion depends on the protocol ({'; '.join(said)})"
    return replace(found, notes=(*found.notes, note))


def _to_base(block: Block) -> list[tuple[int, Difference, tuple[str, ...]]]:
    """Differences of the block's rows to its baseline, and where the conclusion is another one under another protocol;
    none for a row that is refused its headline."""
    base = block.base
    if base is None or not base.headline:
        return []
    found = []
    for i, group in enumerate(block.groups):
        if group is not base and group.headline and group.ids == base.ids:
            difference = compare([group.scores], [base.scores])
            found.append((i, difference, depends({"": group}, {"": base}, ("",), difference)))
    return found


def _pairs(block: Block) -> list[tuple[int, int, Difference]]:
    """Pairs of rows that are ranked (with a headline, without --paper), but for those with the baseline, whose p is shown."""
    able = [i for i, g in enumerate(block.groups) if g.headline and not g.paper and g is not block.base]
    return [
        (i, j, compare([block.groups[i].scores], [block.groups[j].scores]))
        for place, i in enumerate(able)
        for j in able[place + 1 :]
    ]


def _base_places(parts: Sequence[_Part]) -> dict[tuple[int, str], int]:
    """Where the baseline stands in the rows of a table, by table and block."""
    found = {}
    for number, part in enumerate(parts):
        start = 0
        for block in part.blocks:
            for i, group in enumerate(block.groups):
                if group is block.base:
                    found[number, block.key] = start + i
            start += len(block.groups)
    return found


def _letter(rows: list[list[Row]], apart: Sequence[tuple[int, int, int]], bases: Mapping[tuple[int, str], int]) -> None:
    """Letters within each block: from the pairs that differ, and from the differences to the baseline as they are shown."""
    for number, found in enumerate(rows):
        differ = {frozenset((i, j)) for n, i, j in apart if n == number}
        for i, own in enumerate(found):
            base = bases.get((number, own.key))
            if base is not None and own.difference is not None and own.difference.adjusted < ALPHA:
                differ.add(frozenset((i, base)))
        for key in dict.fromkeys((r.block, r.key) for r in found):
            able = [i for i, r in enumerate(found) if (r.block, r.key) == key and r.headline and not r.paper]
            if len(able) < 2:
                continue
            able.sort(key=lambda i: -found[i].accuracy)
            given = letters(
                len(able),
                {(a, b) for a in range(len(able)) for b in range(a + 1, len(able)) if {able[a], able[b]} in differ},
            )
            for place, text in zip(able, given, strict=True):
                found[place] = replace(found[place], letters=text)


def _table(part: _Part, found: Sequence[Row]) -> Table:
    results = part.results
    order = list(dict.fromkeys((r.block, r.key) for r in found))
    place = {key: k for k, key in enumerate(order)}
    ordered = sorted(found, key=lambda r: (place[r.block, r.key], r.letters is None, -r.accuracy, r.name, r.mark))
    task, protocol, hashed = same_questions(results)
    return Table(
        id=f"{task}-{protocol}-{hashed[:6]}",
        task=task,
        protocol=protocol,
        n=int(results["n"]),
        about=about(results),
        rows=tuple(ordered),
        published=published(task, {r.model for r in found}),
    )


def about(results: Mapping[str, Any]) -> str:
    """Version, protocol, n and decoding in words."""
    sampling = decoding(results)
    parts = [f"v{results.get('task_version')}", str(results["protocol"]), f"n = {results['n']:,}"]
    if sampling:
        greedy = not sampling.get("temperature")
        heat = "greedy" if greedy else f"temperature {sampling['temperature']:g}, top_p {sampling.get('top_p', 1):g}"
        parts += [heat, f"{sampling['n']} sample{'s' * (sampling['n'] > 1)} per item"]
        parts.append(f"at most {sampling['max_new_tokens']:,} tokens")
    return ", ".join(parts)
