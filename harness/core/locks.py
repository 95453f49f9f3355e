"""Exclusive ownership of a folder: a lock file that names its owner, taken over when the owner is gone."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from harness.core.errors import RunError
from harness.core.files import timestamp

LOCK = ".lock"


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
