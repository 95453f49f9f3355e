"""Tables as data: CSV (one line a row, unrounded) and JSON (everything that a table shows)."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from harness.core.records import SCHEMA
from leaderboards.rows import Row
from leaderboards.table import Board

CSV_COLUMNS = (
    "kind",
    "task",
    "task_version",
    "protocol",
    "block",
    "model",
    "method",
    "mark",
    "ties",
    "accuracy",
    "ci95_low",
    "ci95_high",
    "n",
    "samples_per_item",
    "seeds",
    "seed_sd",
    "ungraded",
    "truncated",
    "no_answer",
    "no_mark",
    "headline",
    "paper",
    "against",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_holm",
    "test",
    "detectable",
    "steps",
    "train_tokens",
    "train_seconds",
    "eval_tokens",
    "eval_seconds",
    "peak_bytes",
    "extra",
    "sources",
)


def csv_text(board: Board) -> str:
    """One line per row, unrounded; `kind` is ours, average or published; `extra` is JSON, `seeds` and `sources` are
    separated by spaces."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for average in board.averages:
        for mean in average.rows:
            writer.writerow(
                {
                    "kind": "average",
                    "task": "+".join(average.columns),
                    "block": average.title,
                    "method": mean.name,
                    "mark": mean.mark,
                    "ties": mean.letters,
                    "accuracy": mean.average,
                    "ci95_low": mean.low,
                    "ci95_high": mean.high,
                    "seeds": " ".join(map(str, mean.seeds)),
                    "paper": mean.paper,
                    "against": mean.against,
                    "train_tokens": mean.tokens,
                    "train_seconds": mean.seconds,
                    **_difference(mean),
                }
            )
    for table in board.tables:
        for row in table.rows:
            writer.writerow({"kind": "ours", "task": table.task, "protocol": table.protocol, **_csv_row(row)})
        for other in table.published:
            writer.writerow(
                {
                    "kind": "published",
                    "task": table.task,
                    "protocol": other.protocol,
                    "model": other.model,
                    "method": other.method,
                    "accuracy": other.score,
                    "extra": json.dumps({"metric": other.metric} if other.metric else {}),
                    "sources": other.source,
                }
            )
    return out.getvalue()


def _difference(row: Any) -> dict[str, object]:
    d = row.difference
    if d is None:
        return {}
    return {
        "difference": d.value,
        "difference_low": d.low,
        "difference_high": d.high,
        "p": d.p,
        "p_holm": d.adjusted,
        "test": d.test,
        "detectable": d.detectable,
    }


_AS_THEY_ARE = (
    *(
        "block",
        "model",
        "mark",
        "accuracy",
        "n",
        "samples_per_item",
        "seed_sd",
        "ungraded",
        "truncated",
        "no_answer",
        "no_mark",
    ),
    *("headline", "paper", "against", "steps", "train_tokens", "train_seconds", "eval_tokens", "eval_seconds"),
    "peak_bytes",
)


def _csv_row(row: Row) -> dict[str, object]:
    return {
        **{name: getattr(row, name) for name in _AS_THEY_ARE},
        "task_version": row.facts.get("task_version"),
        "method": row.name,
        "ties": row.letters,
        "ci95_low": row.low,
        "ci95_high": row.high,
        "seeds": " ".join(map(str, row.seeds)),
        **_difference(row),
        "extra": json.dumps(row.extra),
        "sources": " ".join(row.sources),
    }


def json_text(board: Board) -> str:
    """Tables, averages and refusals as one object."""
    value = {
        "schema": SCHEMA,
        "comparisons": board.comparisons,
        "averages": [{k: v for k, v in asdict(a).items() if k not in ("pairs", "base")} for a in board.averages],
        "tables": [asdict(t) for t in board.tables],
        "left_out": list(board.refused),
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
