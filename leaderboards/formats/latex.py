"""Tables as LaTeX for a paper: booktabs, one tabular per block, notes as comments of the caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leaderboards.formats import cells
from leaderboards.formats.cells import Column
from leaderboards.table import Board

_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "’": "'",
}


def latex(board: Board) -> str:
    """A file to \\input: needs \\usepackage{booktabs}."""
    out = ["% needs \\usepackage{booktabs}"]
    for average in board.averages:
        notes = cells.average_notes(average, board.comparisons)
        out += _table(cells.average_columns(average), average.rows, f"Average over benchmarks. {average.title}", notes)
    for table in board.tables:
        notes = [*cells.warnings(table), *cells.legend(table, board.comparisons)]
        for title, rows in cells.blocks(table):
            out += _table(cells.columns(rows), rows, f"{table.task} ({table.about}). {title}", notes)
        if table.published:
            out += _table(
                cells.published_columns(), table.published, f"{table.task}: published by others, not ranked", []
            )
    out += [f"% left out: {' '.join(reason.split())}" for reason in board.refused]
    return "\n".join(out) + "\n"


def _table(chosen: Sequence[Column], rows: Sequence[Any], caption: str, notes: Sequence[str]) -> list[str]:
    said = " ".join(f"{escape(note[:1].upper() + note[1:])}." for note in notes)
    return [
        "",
        r"\begin{table}",
        r"\centering\small",
        rf"\begin{{tabular}}{{{''.join('l' if c.left else 'r' for c in chosen)}}}",
        r"\toprule",
        " & ".join(escape(c.title) for c in chosen) + r" \\",
        r"\midrule",
        *(" & ".join(escape(c.cell(row)) for c in chosen) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escape(caption)}. {said}}}",
        r"\end{table}",
    ]


def escape(text: str) -> str:
    """Text in which every sign that LaTeX would act on stands for itself."""
    return "".join(_SIGNS.get(sign, sign) for sign in " ".join(text.split()))
