"""The `compare` verb: two rows in, one paired comparison per task out.

Says what flips in either direction and on which samples, where by category, and at what length and cost. Rows that were made
under other conditions are compared all the same, and what differs is said first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from harness.core.errors import RunError
from harness.core.runs import evaluation_folders, read_evaluation
from harness.core.terminal import stdout
from leaderboards import groups
from leaderboards.conditions import differing, get
from leaderboards.formats import cells
from leaderboards.groups import Group, Read
from leaderboards.stats.differences import ALPHA, Difference, compare, holm
from leaderboards.table import about, same_questions

SHOWN = 90
"""Characters of a question in the list of flips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A sample that one row has right and the other does not; `extracted`: the answers of A and of B."""

    id: str
    sample_index: int
    seed: int
    gold: str
    question: str
    extracted: tuple[str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryLine:
    """Accuracy of both rows where `category` is `value`; n items."""

    category: str
    value: str
    n: int
    a: float
    b: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A against B on one task. `won`: right in A only; `lost`: right in B only; `both`, `neither`: samples.
    `differ`: conditions that are not the same, in words. `tokens`, `seconds`: of a mean response, of the evaluation."""

    task: str
    about: str
    differ: str
    accuracy: tuple[float, float]
    difference: Difference
    won: tuple[Flip, ...]
    lost: tuple[Flip, ...]
    both: int
    neither: int
    unpaired: int
    categories: tuple[CategoryLine, ...]
    tokens: tuple[float | None, float | None]
    seconds: tuple[float | None, float | None]
    train_tokens: tuple[float | None, float | None]


def main(a: Path, b: Path, limit: int = 5, as_json: bool = False, console: Console | None = None) -> list[Pair]:
    """Print the comparison. Raises RunError where a folder holds no row, several, or none on the other's questions."""
    pairs = compared(a, b)
    if as_json:
        print(json.dumps([asdict(p) for p in pairs], indent=2, ensure_ascii=False))
        return pairs
    console = console or stdout()
    names = _names(a, b)
    for pair in pairs:
        _show(pair, names, limit, len(pairs), console)
    return pairs


def compared(a: Path, b: Path) -> list[Pair]:
    """One Pair per task that both rows answered, p-values corrected over the tasks."""
    ours, theirs = rows(a), rows(b)
    common = [key for key in ours if key in theirs]
    if not common:
        raise RunError(
            f"{a} and {b} have no evaluation of the same questions, decoding and protocol in common",
            f"{a} has {', '.join(k[0] for k in ours)}; {b} has {', '.join(k[0] for k in theirs)}",
        )
    pairs = [_pair(ours[key], theirs[key]) for key in common]
    adjusted = holm([p.difference.p for p in pairs])
    return [_adjusted(pair, p) for pair, p in zip(pairs, adjusted, strict=True)]


def _adjusted(pair: Pair, p: float) -> Pair:
    return replace(pair, difference=replace(pair.difference, adjusted=p))


def rows(folder: Path) -> dict[tuple[str, str, str], Group]:
    """The one row that a folder holds, per table it stands in."""
    if not folder.is_dir():
        raise RunError(f"no folder {folder}", "give a run, an evaluation or the --out of score")
    folders = evaluation_folders(folder)
    if not folders:
        raise RunError(f"{folder} holds no finished evaluation", "run its command again, which resumes")
    read, refused = groups.read([read_evaluation(f) for f in folders])
    if refused:
        raise RunError(refused[0], "evaluate it again")
    keyed: dict[tuple[str, str, str], list[Read]] = {}
    for member in read:
        keyed.setdefault(same_questions(member.results), []).append(member)
    found = {}
    for key, members in keyed.items():
        made, _ = groups.groups(members)
        if len(made) != 1:
            named = ", ".join(sorted(g.name for g in made))
            raise RunError(f"{folder} holds {len(made)} rows on {key[0]} ({named})", "name the folder of one of them")
        found[key] = made[0]
    return found


def _pair(ours: Group, theirs: Group) -> Pair:
    if ours.ids != theirs.ids:
        raise RunError(f"{ours.name} and {theirs.name} hold other items", "evaluate one of them again")
    won, lost, both, neither, unpaired = _flips(ours, theirs)
    return Pair(
        task=str(ours.results["task"]),
        about=about(ours.results),
        differ=differing(ours.conditions, theirs.conditions),
        accuracy=(float(ours.scores.matrix.mean()), float(theirs.scores.matrix.mean())),
        difference=compare([ours.scores], [theirs.scores]),
        won=tuple(won),
        lost=tuple(lost),
        both=both,
        neither=neither,
        unpaired=unpaired,
        categories=tuple(_categories(ours, theirs)),
        tokens=(ours.mean("metrics", "length", "tokens_mean"), theirs.mean("metrics", "length", "tokens_mean")),
        seconds=(ours.mean("cost", "seconds"), theirs.mean("cost", "seconds")),
        train_tokens=(_trained_on(ours), _trained_on(theirs)),
    )


def _trained_on(group: Group) -> float | None:
    return group.mean("run", "train_tokens") if group.trained else None


def _partners(ours: Group, theirs: Group) -> list[tuple[Read, Read]]:
    """Evaluations of the same seed; a row with one seed stands beside every seed of the other."""
    by_seed = {get(m.results, "run", "seed") or 0: m for m in theirs.members}
    if len(theirs.members) == 1:
        return [(m, theirs.members[0]) for m in ours.members]
    if len(ours.members) == 1:
        return [(ours.members[0], m) for m in theirs.members]
    return [(m, by_seed[s]) for m in ours.members if (s := get(m.results, "run", "seed") or 0) in by_seed]


def _flips(ours: Group, theirs: Group) -> tuple[list[Flip], list[Flip], int, int, int]:
    won: list[Flip] = []
    lost: list[Flip] = []
    counts = {True: 0, False: 0}
    unpaired = 0
    for one, other in _partners(ours, theirs):
        beside = {(str(r["id"]), r["sample_index"]): r for r in other.finished.samples()}
        seed = int(get(one.results, "run", "seed") or 0)
        for row in one.finished.samples():
            partner = beside.pop((str(row["id"]), row["sample_index"]), None)
            if partner is None:
                unpaired += 1
                continue
            right, there = row["verdict"] == "correct", partner["verdict"] == "correct"
            if right == there:
                counts[right] += 1
            else:
                (won if right else lost).append(_flip(row, partner, seed))
        unpaired += len(beside)
    return won, lost, counts[True], counts[False], unpaired


def _flip(row: Mapping[str, Any], partner: Mapping[str, Any], seed: int) -> Flip:
    return Flip(
        id=str(row["id"]),
        sample_index=int(row["sample_index"]),
        seed=seed,
        gold=str(row.get("gold", "")),
        question=str(row.get("question", "")),
        extracted=(row.get("extracted"), partner.get("extracted")),
    )


def _categories(ours: Group, theirs: Group) -> list[CategoryLine]:
    found = []
    for category, values in (ours.results.get("by_category") or {}).items():
        for value, score in values.items():
            a, b = (g.mean("by_category", category, value, "value") for g in (ours, theirs))
            if a is not None and b is not None:
                found.append(CategoryLine(category=category, value=value, n=score["n"], a=a, b=b))
    return found


def _names(a: Path, b: Path) -> tuple[str, str]:
    """The names of both rows; where they are equal, their folders."""
    first, second = (next(iter(rows(f).values())).name for f in (a, b))
    return (first, second) if first != second else (str(a), str(b))


def _show(pair: Pair, names: tuple[str, str], limit: int, tasks: int, console: Console) -> None:
    d = pair.difference
    console.print(f"\n[bold]{escape(pair.task)}[/]  [dim]{escape(pair.about)}[/]", highlight=False)
    if pair.differ:
        console.print(f"made under other conditions: {pair.differ}", style="yellow", highlight=False, markup=False)
    said = "no difference can be told" if d.adjusted >= ALPHA else ("A is better" if d.value > 0 else "B is better")
    over = f", {d.adjusted:.3g} after Holm over {tasks} tasks" if tasks > 1 else ""
    lines = [
        f"A {names[0]} {cells.percent(pair.accuracy[0])}, B {names[1]} {cells.percent(pair.accuracy[1])}",
        f"A - B {cells.points(d)} points, p {d.p:.3g}{over} ({d.test}): {said}",
        f"a true difference below {100 * d.detectable:.1f} points is found in less than 80 % of such comparisons",
        f"right in A only {len(pair.won)}, in B only {len(pair.lost)}, in both {pair.both}, in neither {pair.neither}"
        + (f"; {pair.unpaired} samples without a partner" if pair.unpaired else ""),
        "tokens of a response: " + _two(pair.tokens, lambda v: f"{v:.1f}"),
        "evaluation: " + _two(pair.seconds, cells.duration) + "; trained on: " + _two(pair.train_tokens, cells.amount),
    ]
    if d.seeds == 1:
        lines.append("one seed: this holds for these two policies and says nothing about another seed")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for title, flips in (("right in A only", pair.won), ("right in B only", pair.lost)):
        _print_flips(title, flips[:limit], len(flips), console)
    _print_categories(pair.categories, console)


def _two(values: tuple[float | None, float | None], say: Any) -> str:
    a, b = (cells.NONE if v is None else say(v) for v in values)
    return f"A {a}, B {b}"


def _print_flips(title: str, flips: Sequence[Flip], count: int, console: Console) -> None:
    if not flips:
        return
    table = RichTable(box=None, pad_edge=False, header_style="bold", title=f"{title} ({count})", title_justify="left")
    for column in ("item", "seed", "gold", "A", "B", "question"):
        table.add_column(column, overflow="fold")
    for flip in flips:
        answers = ["(none)" if e is None else e[:40] for e in flip.extracted]
        name = flip.id + (f" #{flip.sample_index}" if flip.sample_index else "")
        cells_ = [name, str(flip.seed), flip.gold[:40], *answers, " ".join(flip.question.split())[:SHOWN]]
        table.add_row(*(escape(c) for c in cells_))
    console.print(table)


def _print_categories(lines: Sequence[CategoryLine], console: Console) -> None:
    if not lines:
        return
    table = RichTable(box=None, pad_edge=False, header_style="bold", title="by category", title_justify="left")
    table.add_column("category", overflow="fold")
    for column in ("n", "A", "B", "A - B"):
        table.add_column(column, justify="right")
    for line in lines:
        gap = f"{100 * (line.a - line.b):+.1f}"
        name = escape(f"{line.category} {line.value}")
        table.add_row(name, f"{line.n:,}", cells.percent(line.a), cells.percent(line.b), gap)
    console.print(table)
