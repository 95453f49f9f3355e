"""The samples of an evaluation for the browser: an index of small columns, and blocks of whole samples read on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from harness.core.errors import RunError
from harness.core.runs import SAMPLES

BLOCK = 50
"""Samples in one file."""
PREVIEWS = 3000
"""Up to so many samples the index holds the beginning of each question."""
VERDICTS = ("correct", "incorrect", "ungraded")


@dataclass(frozen=True, slots=True)
class Log:
    """Where the lines of a samples.jsonl are, and their index. `offsets` [n + 1] are bytes."""

    path: Path
    offsets: tuple[int, ...]
    index: Mapping[str, Any]

    def block(self, number: int) -> list[dict[str, Any]]:
        """The samples of one block, whole."""
        first, last = number * BLOCK, min((number + 1) * BLOCK, len(self.offsets) - 1)
        if not 0 <= first < last:
            raise RunError(f"{self.path} has no block {number}", "reload the page")
        with self.path.open("rb") as file:
            file.seek(self.offsets[first])
            lines = file.read(self.offsets[last] - self.offsets[first]).splitlines()
        return [from_json(line) for line in lines]


def read_log(folder: Path, limit: int | None = None) -> Log:
    """Index of a folder's samples; `limit` keeps the first ones. Raises RunError for a line that is no sample."""
    path = folder / SAMPLES
    columns = _Columns()
    offsets, place = [0], 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") or (limit is not None and columns.count == limit):
                    break
                columns.add(from_json(line))
                place += len(line)
                offsets.append(place)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})", "check the folder") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: sample {columns.count + 1} is malformed ({error})", "evaluate it again") from error
    return Log(path, tuple(offsets), columns.index())


class _Codes:
    """Texts as small numbers."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.texts = {text: k for k, text in enumerate(texts)}

    def __call__(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))


class _Columns:
    """The index while it grows: one list per column, texts that repeat as codes."""

    def __init__(self) -> None:
        self.count = 0
        self.ids: list[str] = []
        self.numbers: list[int] = []
        self.verdicts: list[int] = []
        self.reasons: list[int] = []
        self.flags: list[int] = []
        self.tokens: list[int] = []
        self.previews: list[str] = []
        self.reason = _Codes()
        self.verdict = _Codes(VERDICTS)
        self.others: dict[str, list[int]] = {}
        self.categories: dict[str, list[Any]] = {}
        self.category: dict[str, _Codes] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        self.ids.append(str(row["id"]))
        self.numbers.append(int(row["sample_index"]))
        self.verdicts.append(self.verdict(str(row["verdict"])))
        self.reasons.append(self.reason(str(row.get("reason") or "")))
        self.flags.append(
            (row.get("finish") == "length") + 2 * (row.get("extracted") is None) + 4 * bool(row.get("note"))
        )
        self.tokens.append(int(row.get("tokens") or 0))
        if self.count < PREVIEWS:
            self.previews.append(" ".join(str(row.get("question") or "")[:160].split())[:100])
        for protocol, verdict in (row.get("verdicts") or {}).items():
            if protocol != row["protocol"]:
                self._fill(self.others, protocol).append(self.verdict(str(verdict["status"])))
        for name, value in (row.get("categories") or {}).items():
            code = self.category.setdefault(name, _Codes())
            values = value if isinstance(value, list) else [value]
            coded = [code("(none)" if v is None else str(v)) for v in values]
            self._fill(self.categories, name).append(coded[0] if len(coded) == 1 else coded)
        self.count += 1

    def _fill(self, columns: dict[str, list[Any]], name: str) -> list[Any]:
        """The column, with -1 for the rows before that had none."""
        column = columns.setdefault(name, [])
        column.extend([-1] * (self.count - len(column)))
        return column

    def index(self) -> dict[str, Any]:
        columns = [*self.others.values(), *self.categories.values()]
        for column in columns:
            column.extend([-1] * (self.count - len(column)))
        repeated = any(self.numbers)
        return {
            "n": self.count,
            "block": BLOCK,
            "id": self.ids,
            "k": self.numbers if repeated else None,
            "v": self.verdicts,
            "verdicts": list(self.verdict.texts),
            "r": self.reasons,
            "reasons": list(self.reason.texts),
            "flags": self.flags,
            "tokens": self.tokens,
            "q": self.previews if self.count <= PREVIEWS else None,
            "others": self.others,
            "categories": {n: {"codes": c, "texts": list(self.category[n].texts)} for n, c in self.categories.items()},
        }
