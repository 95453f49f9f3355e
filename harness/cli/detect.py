"""The `detect` verb: the spread of paired differences that runs show in, seeds and questions that a difference needs out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.core.errors import RunError
from harness.core.terminal import stdout
from leaderboards.board import Choice
from leaderboards.stats.power import Design, Spread, designs, power


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a difference needs on one task. `pairs`: comparisons that the spread was measured on; `items`: questions the
    task has; `reached`: power with those for each number of seeds."""

    task: str
    pairs: int
    items: int
    spread: Spread
    designs: tuple[Design, ...]
    reached: dict[int, float]


def needs(
    out: Path, difference: float, wanted: float = 0.8, baseline: str = "base", tasks: Sequence[str] = ()
) -> list[Need]:
    """One Need per task. `difference` in [0, 1]. Raises RunError where no row can be compared with the baseline."""
    from leaderboards.measured import spreads

    found = []
    for task, items, measured in spreads(out, Choice(baseline=baseline, tasks=tuple(tasks))):
        spread = Spread.mean(measured)
        made = tuple(designs(difference, spread, wanted))
        reached = {d.seeds: power(difference, spread, d.seeds, items) for d in made}
        found.append(Need(task=task, pairs=len(measured), items=items, spread=spread, designs=made, reached=reached))
    if not found:
        raise RunError(f"no row below {out} is compared with '{baseline}'", "give --baseline a row that was run")
    return found


def main(
    out: Path,
    difference: float,
    wanted: float,
    baseline: str,
    tasks: Sequence[str] = (),
    as_json: bool = False,
    console: Console | None = None,
) -> None:
    """Print a table per task, or JSON. Raises RlfrEvalError."""
    found = needs(out, difference, wanted, baseline, tasks)
    if as_json:
        print(json.dumps([asdict(need) for need in found], indent=2))
        return
    console = console or stdout()
    for need in found:
        _show(need, difference, wanted, console)


def _show(need: Need, difference: float, wanted: float, console: Console) -> None:
    spread = need.spread
    seed = "unknown (one seed was run)" if spread.seed is None else f"{100 * spread.seed**0.5:.1f} points"
    console.print(f"\n{need.task}", style="bold", highlight=False)
    said = [
        f"measured on {need.pairs} comparisons: seeds scatter by {seed}, questions by "
        f"{100 * spread.item**0.5:.0f} points, the rest by {100 * spread.rest**0.5:.0f} points (of a paired difference)",
        f"to find a true difference of {100 * difference:g} points in {wanted:.0%} of studies (p < 0.05, one comparison):",
    ]
    if spread.seed is None:
        said.append(
            "without a measured scatter of seeds the lines with several seeds count it as none: too few, in truth"
        )
    for line in said:
        console.print(line, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("seeds", "questions needed", f"power with its {need.items:,} questions"):
        table.add_column(column, justify="right")
    for design in need.designs:
        table.add_row(*_cells(design, need))
    console.print(table)
    console.print("one seed: a claim about two policies, not about methods", style="dim", highlight=False)


def _cells(design: Design, need: Need) -> list[Any]:
    items = "no number is enough" if design.items is None else f"{design.items:,}"
    return [str(design.seeds), items, f"{need.reached[design.seeds]:.0%}"]
