"""The worker process: jobs in on a pipe, verdicts out on another. Started by `pool`, never imported by it.

Frames are a 4-byte length and a pickle. In: a list of (number, job). Out: ("ready",) once; ("wait",) before a slow import
and ("go",) after it; ("done", [(number, result), ..]) for one or more jobs, in order, each with its job's number. Results of
quick jobs travel together, but none is held back while something that may take long is under way, so that a late worker is
late with the job that is next. An alarm without a handler ends the process should its parent no longer be there to do so.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import struct
import sys
from collections.abc import Sequence
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


class _Session:
    """Grades batches: imports what a job needs before its clock starts, and hands out results."""

    def __init__(self, out: BinaryIO, limit: float) -> None:
        self.out, self.limit = out, limit
        self.loaded: set[str] = set()
        self.golds: dict[str, Any] = {}
        self.held: list[tuple[int, Any]] = []

    def serve(self, jobs: Sequence[tuple[int, Any]]) -> None:
        from rewards.verifier import audit, grade
        from rewards.verifier.protocols import ALWAYS

        for number, job in jobs:
            self._prepare(job)
            signal.setitimer(signal.ITIMER_REAL, self.limit)
            if isinstance(job, grade.ClusterJob) or job.rule or not {*job.protocols} <= {*ALWAYS, audit.PROTOCOL}:
                self.flush()
            result = grade.clusters(job) if isinstance(job, grade.ClusterJob) else grade.grade(job)
            self.held.append((number, result))
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.flush()
        self.save()

    def save(self, least: int = 64) -> None:
        """Keep newly parsed golds for later processes."""
        for golds in self.golds.values():
            golds.save(least)

    def flush(self) -> None:
        if self.held:
            send(self.out, ("done", self.held))
            self.held.clear()

    def _prepare(self, job: Any) -> None:
        from harness.core.records import AnswerType

        kind = job.answer.type if hasattr(job, "answer") else job.type
        needs = {"symbolic"} if kind in (AnswerType.EXPRESSION, AnswerType.FLOAT) else set()
        needs |= {job.rule.partition(":")[0]} if getattr(job, "rule", "") else set()
        needs |= {f"protocol:{name}" for name in getattr(job, "protocols", ())}
        if "symbolic" in self.loaded:
            self._use_golds(getattr(job, "task", ""))
        if needs <= self.loaded:
            return
        self.flush()
        send(self.out, ("wait",))
        for name in needs - self.loaded:
            self._load(name)
        self.loaded |= needs
        if "symbolic" in needs:
            self._use_golds(getattr(job, "task", ""))
        send(self.out, ("go",))

    def _use_golds(self, task: str) -> None:
        from rewards.verifier import cache
        from rewards.verifier.answers import symbolic

        if task not in self.golds:
            self.golds[task] = cache.Golds(task)
        symbolic.golds = self.golds[task]

    def _load(self, name: str) -> None:
        import importlib

        from harness.core.errors import attempt

        if name == "symbolic":
            from rewards.verifier.answers import symbolic

            symbolic.load()
            symbolic.before_slow_work = self.flush
        elif name.startswith("protocol:"):
            from rewards.verifier.protocols import protocol

            grader, _ = attempt(protocol.get, name.partition(":")[2])
            for module in getattr(grader, "imports", ()):
                attempt(importlib.import_module, module)
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

    import harness.core.registry

    for path in plugins:
        harness.core.registry.load_plugin(path)
    session = _Session(out, limit)
    send(out, ("ready",))
    while True:
        try:
            session.serve(receive(sys.stdin.buffer))
        except EOFError:
            session.save(1)
            return


if __name__ == "__main__":
    main()
