"""Run folders: where they are, how they are written so that a kill loses nothing, and how they are read back.

In: results, log lines and facts of a run. Out: `runs/<model>/<method>/<train-task>/s<seed>-<hash>/` with config.yaml, train/,
checkpoints/, policy/ and eval/<task>-<key8>/{samples.jsonl, results.json, manifest.json}. Log lines are flushed one by one;
a manifest is written last, so a folder without one is unfinished; a lock names the process that owns a folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from harness.errors import RunError
from harness.records import SCHEMA

MANIFEST, RESULTS, SAMPLES, LOCK = "manifest.json", "results.json", "samples.jsonl", ".lock"
_NOT_EVALUATIONS = {"checkpoints", "policy", "train", "__pycache__"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Which run a result belongs to; stored in every results.json under `run`.

    `setting`: content hash of the recipe (all that is equal for the methods of one table); `config`: content hash of the
    whole configuration without the seed, method options included: seeds of one `config` are averaged. `label` names a
    policy trained elsewhere. `paper`: the recipe values of the method's paper were applied, so the row is not ranked.
    Costs of training: wall seconds, tokens sampled, optimiser steps, bytes at the peak.
    """

    model: str
    method: str
    seed: int = 0
    train_task: str = ""
    recipe: str = ""
    setting: str = ""
    config: str = ""
    label: str = ""
    paper: bool = False
    policy: str = ""
    train_seconds: float = 0.0
    train_tokens: int = 0
    train_steps: int = 0
    peak_bytes: int | None = None
    overlap: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What the row is called: the label of an outside policy, else the method."""
        return self.label or self.method


def slug(text: str) -> str:
    """A folder name: `Qwen/Qwen2.5-VL-3B` becomes `Qwen--Qwen2.5-VL-3B`."""
    return re.sub(r"[^\w.+=-]+", "-", text.strip("/").replace("/", "--")).strip(".-") or "unnamed"


def run_folder(out: Path, *, model: str, method: str, train_task: str, seed: int, key: str) -> Path:
    """`out/<model>/<method>/<train-task>/s<seed>-<key>`; `key` is the content hash of the run (8 characters are used)."""
    return Path(out) / slug(model) / slug(method) / slug(train_task or "none") / f"s{seed}-{key[:8]}"


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


def write_manifest(folder: Path, facts: Mapping[str, Any], files: Sequence[str] = ()) -> dict[str, Any]:
    """The mark of a finished folder, written last: schema, time, `facts`, and size and sha256 of the named files."""
    listed = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in files}
    manifest = {"schema": SCHEMA, "finished": timestamp(), **facts, "files": listed}
    write_json(folder / MANIFEST, manifest)
    return manifest


def finished(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished folder, else None."""
    return read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None


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


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock. `started`: its start in clock ticks since boot, so that a reused pid is told apart."""

    pid: int
    host: str
    time: str
    started: int

    def alive(self) -> bool | None:
        """True or False on this host, None where it cannot be known (another host)."""
        if self.host != socket.gethostname():
            return None
        return _start_ticks(self.pid) == self.started if self.started else _exists(self.pid)


class Lock:
    """Exclusive ownership of a folder while the context lasts; a lock left by a dead process is taken over.

    The file names its owner. A kernel lock on it makes take-over safe against a second process doing the same. Raises
    RunError naming the owner when it is alive, or when it is on another host and may be.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / LOCK
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while self._file is None:
            file = self.path.open("a+", encoding="utf-8")
            if not _kernel_lock(file):
                owner = _owner(file)
                file.close()
                raise self._taken(owner)
            if not _same_file(file, self.path):
                file.close()  # its owner released it between our open and our lock: look again
                continue
            owner = _owner(file)
            if owner is not None and owner.pid != os.getpid() and owner.alive() is not False:
                file.close()
                raise self._taken(owner)
            self._file = file
        self._file.seek(0)
        self._file.truncate()
        me = Owner(os.getpid(), socket.gethostname(), timestamp(), _start_ticks(os.getpid()) or 0)
        json.dump(asdict(me), self._file)
        self._file.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _taken(self, owner: Owner | None) -> RunError:
        if owner is None:
            return RunError(f"{self.path.parent} is in use by another process", "wait until it ends")
        who = f"process {owner.pid} on {owner.host} since {owner.time}"
        if owner.host != socket.gethostname():
            return RunError(f"{self.path.parent} is locked by {who}", f"if that process is gone, delete {self.path}")
        return RunError(f"{self.path.parent} is in use by {who}", "wait until it ends, or stop it; re-running resumes")


def _kernel_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without flock: the named owner alone decides
    return True


def _same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _owner(file: IO[str]) -> Owner | None:
    file.seek(0)
    try:
        return Owner(**json.loads(file.read()))
    except (ValueError, TypeError):
        return None


def _start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none (or no /proc)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished evaluation, read back."""

    folder: Path
    results: Mapping[str, Any]

    def samples(self) -> Iterator[dict[str, Any]]:
        """Lines of samples.jsonl in the order in which they were written."""
        return read_log(self.folder / SAMPLES)


def read_evaluation(folder: Path) -> Finished:
    """A finished evaluation folder. Raises RunError when it is unfinished or of another schema."""
    if finished(folder) is None:
        raise RunError(f"{folder} is not a finished evaluation (no {MANIFEST})", "re-run its command, which resumes")
    results = read_json(folder / RESULTS)
    if results.get("schema") != SCHEMA:
        raise RunError(f"{folder} has schema {results.get('schema')}, this version reads {SCHEMA}", "evaluate it again")
    return Finished(folder, results)


def evaluations(out: Path) -> list[Finished]:
    """All finished evaluations below a folder, in path order; unfinished ones are left out."""
    found = []
    for root, folders, files in os.walk(out):
        folders[:] = sorted(f for f in folders if f not in _NOT_EVALUATIONS)
        if MANIFEST in files and RESULTS in files:
            found.append(read_evaluation(Path(root)))
    return found
