"""Responses that somebody else's model gave, replayed from a jsonl file as if an engine had just produced them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import DataError
from harness.core.records import Finish, Rollout
from harness.engines.base import Engine, Request, engine


@engine.register("recorded")
class RecordedEngine(Engine):
    """Replays recorded responses; several lines of one id are its samples, in file order. Runs no policy."""

    def __init__(self, path: str | Path, response_field: str = "response", id_columns: Sequence[str] = ("id",)) -> None:
        self.path, self.field = Path(path), response_field
        self.rows = responses(path, id_columns, response_field)

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        """The first `sampling.n` responses of each item, without token ids. Raises DataError when there are fewer."""
        for request in requests:
            item, n = request.prompt.example_id, request.sampling.n
            rows = self.rows.get(item, [])
            if len(rows) < n:
                raise DataError(
                    f"{self.path} has {len(rows)} responses to item {item}, {n} are asked",
                    "lower --n, or drop the item with --ids",
                )
            for index, row in enumerate(rows[:n]):
                yield Rollout(
                    prompt_id=item,
                    sample_index=index,
                    token_ids=(),
                    logprobs=(),
                    finish=Finish.RECORDED,
                    text=row[self.field],
                    sampling=request.sampling,
                )

    def describe(self) -> dict[str, Any]:
        import hashlib

        return {"engine": "recorded", "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()}


def responses(
    path: str | Path, id_columns: Sequence[str] = ("id",), field: str = "response"
) -> dict[str, list[dict[str, Any]]]:
    """Lines of a jsonl file by item id, each as the object that it is; `field` holds the response as a string.

    The id is the first of the benchmark's own `id_columns`, or else `id`, that a line has: a string or a whole number.
    Raises DataError naming the line for a line that is no object, has no id, or no response.
    """
    file = Path(path)
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    row = _row(line, f"{file} line {number}")
                    found.setdefault(_id(row, id_columns, f"{file} line {number}"), []).append(row)
                    row[field] = _response(row, field, f"{file} line {number}")
    except OSError as error:
        raise DataError(f"cannot read {file} ({error.strerror})", "check --responses") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text ({error.reason})", "convert it") from error
    if not found:
        raise DataError(f"{file} holds no responses", 'write lines {"id": .., "response": ..}')
    return found


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is not JSON ({error})", "one object per line") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is no object", 'write {"id": .., "response": ..}')
    return row


def _id(row: dict[str, Any], id_columns: Sequence[str], where: str) -> str:
    columns = tuple(dict.fromkeys((*id_columns, "id")))
    for column in columns:
        value = row.get(column)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(f"{where}: {column} is {value!r}", "an id is a string or a whole number")
        return str(value)
    raise DataError(
        f"{where} has no id", f"give it {' or '.join(columns)}; it has {', '.join(map(str, row)) or 'nothing'}"
    )


def _response(row: dict[str, Any], field: str, where: str) -> str:
    """The response as text; null is an empty reply, a number is its text."""
    if field not in row:
        raise DataError(
            f"{where} has no column '{field}'", f"name it with --response-field; it has {', '.join(map(str, row))}"
        )
    value = row[field]
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise DataError(f"{where}: {field} is a {type(value).__name__}", "a response is a string")
