"""The worker process: jobs in on a pipe, verdicts out on another. Started by `pool`, never imported by it.

Frames are a 4-byte length and a pickle. Out: ("ready",) once; ("wait",) before a slow import and ("go",) after it; ("done",
result) per job, in order. An alarm without a handler ends the process should its parent no longer be there to end it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

HEADER = struct.Struct("<I")
MEMORY = 4 << 30
"""Address space of a worker in bytes."""
RECURSION = 3000


def send(stream: BinaryIO, message: Any) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(HEADER.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """The next message; EOFError when the other side is gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    (size,) = HEADER.unpack(header)
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)


class _Loader:
    """Imports what a job needs before its clock starts."""

    def __init__(self, out: BinaryIO) -> None:
        self.out, self.loaded = out, set[str]()

    def prepare(self, job: Any) -> None:
        from harness.records import AnswerType

        kind = job.answer.type if hasattr(job, "answer") else job.type
        needs = {"symbolic"} if kind in (AnswerType.EXPRESSION, AnswerType.FLOAT) else set()
        needs |= {job.rule.partition(":")[0]} if getattr(job, "rule", "") else set()
        if needs <= self.loaded:
            return
        send(self.out, ("wait",))
        for name in needs - self.loaded:
            self._load(name)
        self.loaded |= needs
        send(self.out, ("go",))

    def _load(self, name: str) -> None:
        import importlib

        from harness.errors import attempt

        if name == "symbolic":
            from rewards.verifier import symbolic

            symbolic.load()
        else:
            # a rule that cannot be imported fails again, as a verdict, when it is called
            module, _ = attempt(importlib.import_module, name)
            attempt(getattr(module, "load", lambda: None))


def main() -> None:
    """Serve until the pipe closes. argv: seconds after which a silent parent counts as gone, then plug-in files."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limit, plugins = float(sys.argv[1]), sys.argv[2:]
    sys.setrecursionlimit(RECURSION)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    import harness.registry
    from rewards.verifier import grade

    for path in plugins:
        harness.registry.load_plugin(path)
    loader = _Loader(out)
    send(out, ("ready",))
    while True:
        try:
            jobs = receive(sys.stdin.buffer)
        except EOFError:
            return
        for job in jobs:
            loader.prepare(job)
            signal.setitimer(signal.ITIMER_REAL, limit)
            result = grade.grade(job) if isinstance(job, grade.Job) else grade.clusters(job)
            signal.setitimer(signal.ITIMER_REAL, 0)
            send(out, ("done", result))


if __name__ == "__main__":
    main()
