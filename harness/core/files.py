"""Files written so that a kill loses nothing: whole files appear at once, log lines are flushed one by one."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from harness.core.errors import RunError


def write_text(path: Path, text: str) -> None:
    """Write a whole file atomically: a reader sees the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with partial.open("w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. A NaN or infinity anywhere in it is a RunError: it must never enter a result."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise RunError(
            f"{path}: a value is not finite ({error})", "this is a defect; report the run's configuration"
        ) from error
    write_text(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises RunError naming the file when it is missing, unreadable or not an object."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"no file {path}", "check the run's path") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error})", "delete the folder and run again") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is not a JSON object", "delete the folder and run again")
    return value


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def timestamp() -> str:
    """The time now, UTC, ISO 8601 to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class JsonlWriter:
    """Appends JSON objects to a file, one flushed line each. Opening drops a torn last line (of a killed writer)."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(self.path)
        self._file: IO[bytes] = self.path.open("ab")

    def append(self, value: Mapping[str, Any]) -> None:
        """Write one line and hand it to the operating system. Raises RunError for a value that is not finite."""
        try:
            line = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
        except ValueError as error:
            raise RunError(
                f"{self.path}: a value is not finite ({error})", "report the item that was logged"
            ) from error
        self._file.write(line.encode("utf-8", "replace") + b"\n")
        self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drop_torn_line(path: Path) -> None:
    """Cut the file after its last newline."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65_536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a log written by JsonlWriter; a torn last line is left out. Raises RunError for a broken line inside."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise RunError(f"{path} line {number} is not JSON", "remove that line and run again") from error
