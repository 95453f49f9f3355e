"""Plots of a board as one picture (png or svg, matplotlib): accuracy with intervals per table, averages, cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import ResourceError, attempt
from leaderboards.formats import cells
from leaderboards.table import Board


def plot(board: Board, file: Path) -> None:
    """Write the picture; its kind is the file's ending. Raises ResourceError where matplotlib is not installed."""
    pyplot, missing = attempt(_pyplot)
    if missing is not None:
        raise ResourceError(f"a plot needs matplotlib ({missing})", "pip install 'rlfr-eval[plots]'")
    panels = _panels(board)
    heights = [0.9 + 0.32 * len(rows) for _, rows in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(8, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, (title, rows) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, title, rows)
    metadata = {"Date": None} if file.suffix == ".svg" else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150, metadata=metadata)
    pyplot.close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "rlfr-eval"
    matplotlib.rcParams["text.parse_math"] = False
    from matplotlib import pyplot

    return pyplot


def _panels(board: Board) -> list[tuple[str, list[tuple[str, float, float, float, str]]]]:
    """Title and rows (label, value, low, high, letters) of each block."""
    panels = []
    for average in board.averages:
        rows = [
            (cells.name(r), r.average, r.low or 0.0, r.high or 0.0, r.letters or "")
            for r in average.rows
            if r.average is not None
        ]
        if rows:
            panels.append((f"average of {len(average.columns)} benchmarks\n{average.title}", rows))
    for table in board.tables:
        for title, found in cells.blocks(table):
            named = [(cells.name(r), r.accuracy, r.low, r.high, r.letters or "") for r in found]
            panels.append((f"{table.task}: {table.about}\n{title}", named))
    return panels


def _panel(axis: Any, title: str, rows: Sequence[tuple[str, float, float, float, str]]) -> None:
    places = list(range(len(rows)))[::-1]
    values = [100 * r[1] for r in rows]
    errors = [[100 * (r[1] - r[2]) for r in rows], [100 * (r[3] - r[1]) for r in rows]]
    axis.errorbar(values, places, xerr=errors, fmt="o", color="#1f5fbf", capsize=3, markersize=5)
    for place, row in zip(places, rows, strict=True):
        axis.annotate(row[4], (100 * row[3], place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(places, [r[0] for r in rows], fontsize=9)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_xlabel("accuracy, % (95 % intervals; rows that share a letter cannot be told apart)", fontsize=8)
    axis.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
