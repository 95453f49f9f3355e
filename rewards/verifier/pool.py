"""Jobs in, verdicts out, from any thread, event loop or process: grading happens in killable worker processes.

A worker is a fresh interpreter (`python -m rewards.verifier.worker`), so a script needs no main guard, and torch is never
imported there. The deadline of a job counts from when its worker begins it. A worker that passes it is killed and replaced;
one that dies is replaced and its job tried once more. Every job has a number that comes back with its result: a worker that
answers another job than the one asked, or in a form that cannot be read, is as good as dead.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pickle
import queue
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from harness.core.errors import VerifierError, attempt
from harness.core.records import AnswerType, Verdict
from rewards.verifier import Reason, worker
from rewards.verifier.grade import classes, verdict
from rewards.verifier.jobs import ClusterJob, Job

START_SECONDS = 120.0
"""What the start of a worker, or an import in it, may take on a busy machine."""
BATCH = 64
"""Jobs sent to a worker at once; each has its own deadline, and what a lost worker had not begun goes back."""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class _Task:
    """A job, where its result goes, and how often it was begun. `number` is unique in this process."""

    job: Job | ClusterJob
    number: int = field(default_factory=itertools.count().__next__)
    future: Future[Any] = field(default_factory=Future)
    tries: int = 0


class _Late(Exception):
    """The worker said nothing within the time given."""


class _WrongAnswer(Exception):
    """The worker answered something else than the next job."""


class Verifier:
    """Grades jobs in `workers` processes (default: one per core, at most 4), started when first needed.

    deadline: seconds per job. plugins: files for `harness.core.registry.load_plugin`, loaded in every worker. Use it as a
    context manager, or let it close at exit. Raises VerifierError when workers do not start.
    """

    def __init__(self, workers: int | None = None, deadline: float = 5.0, plugins: Sequence[str] = ()) -> None:
        self.workers = workers or min(os.cpu_count() or 1, 4)
        self.deadline, self.plugins = deadline, tuple(str(Path(p).resolve()) for p in plugins)
        self._lock = threading.Lock()
        self._reset()
        _OPEN.add(self)

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._idle = 0
        self._lanes: list[_Lane] = []

    def submit(self, job: Job) -> Future[dict[str, Verdict]]:
        """The verdicts to come, by protocol. Returns at once, so that grading overlaps generation."""
        return self._enqueue([_Task(job)])[0].future

    def verify(self, jobs: Sequence[Job]) -> list[dict[str, Verdict]]:
        """Verdicts by protocol, in the order of the jobs."""
        return [t.future.result() for t in self._enqueue([_Task(job) for job in jobs])]

    def submit_clusters(
        self, answers: Sequence[str | None], type: AnswerType, choices: Sequence[str] = ()
    ) -> Future[list[int]]:
        """As `clusters`, to come."""
        return self._enqueue([_Task(ClusterJob(tuple(answers), type, tuple(choices)))])[0].future

    def clusters(self, answers: Sequence[str | None], type: AnswerType, choices: Sequence[str] = ()) -> list[int]:
        """Numbers of the classes of equal answers, from 0 in order of appearance; None is a class of its own.

        Should comparing pass the deadline, only answers written the same are equal.
        """
        return self.submit_clusters(answers, type, choices).result()

    def close(self) -> None:
        """End the workers; what is still waiting is cancelled. Calling it twice is harmless."""
        with self._lock:
            if self._closed or self._owner != os.getpid():
                return
            self._closed = True
            threads, lanes = self._threads, self._lanes
        while True:
            try:
                task = self._queue.get_nowait()
            except queue.Empty:
                break
            if task is not None:
                task.future.cancel()
        for _ in threads:
            self._queue.put(None)
        for lane in lanes:
            if any(not task.future.done() for task in lane.batch):
                lane.stop()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enqueue(self, tasks: list[_Task]) -> list[_Task]:
        with self._lock:
            if self._owner != os.getpid():
                # a forked child owns neither threads nor pipes
                self._reset()
            if self._closed:
                raise VerifierError("the verifier is closed", "make a new one")
            for task in tasks:
                self._queue.put(task)
            wanted = min(self.workers, max(1, len(self._threads) + self._queue.qsize() - self._idle))
            while len(self._threads) < wanted:
                lane = _Lane(self)
                self._lanes.append(lane)
                thread = threading.Thread(target=lane.run, name="verifier", daemon=True)
                self._threads.append(thread)
                thread.start()
        return tasks


_OPEN: weakref.WeakSet[Verifier] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for verifier in list(_OPEN):
        verifier.close()


class _Lane:
    """One worker process and the thread that feeds it."""

    def __init__(self, owner: Verifier) -> None:
        self.owner, self.queue, self.deadline = owner, owner._queue, owner.deadline
        self.process: subprocess.Popen[bytes] | None = None
        self.buffer = b""
        self.batch: list[_Task] = []

    def run(self) -> None:
        """Until told to stop: take what is waiting, send it, hand out the results."""
        while True:
            self.owner._idle += 1
            first = self.queue.get()
            self.owner._idle -= 1
            if first is None:
                break
            batch = [first]
            share = min(BATCH, self.queue.qsize() // (2 * self.owner.workers) + 1)
            while len(batch) < share:
                try:
                    task = self.queue.get_nowait()
                except queue.Empty:
                    break
                if task is None:
                    self.queue.put(None)
                    break
                batch.append(task)
            self.batch = batch
            self._serve(batch)
        self._finish()

    def _serve(self, batch: list[_Task]) -> None:
        while batch:
            if self.owner._closed:
                for task in batch:
                    task.future.cancel()
                return
            try:
                self._start()
            except VerifierError as error:
                for task in batch:
                    task.future.set_exception(error)
                return
            batch = self._send(batch)

    def _send(self, batch: list[_Task]) -> list[_Task]:
        """Grade a batch; returns what a lost worker left over."""
        assert self.process is not None and self.process.stdin is not None
        place = 0
        try:
            worker.send(self.process.stdin, [(t.number, t.job) for t in batch])  # type: ignore[arg-type]
            while place < len(batch):
                batch[place].tries += 1
                for number, result in self._results(self._limit(batch[place])):
                    if place == len(batch) or number != batch[place].number:
                        raise _WrongAnswer
                    _deliver(batch[place], result)
                    place += 1
            return []
        except _Late:
            self.kill()
            _deliver(batch[place], _failed(batch[place].job, Reason.DEADLINE, self._limit(batch[place])))
            return batch[place + 1 :]
        except (EOFError, OSError, _WrongAnswer):
            self.kill()
            if self.owner._closed or place == len(batch):
                return batch[place:]
            task = batch[place]
            task.tries = max(task.tries, 1)
            if task.tries > 1:
                _deliver(task, _failed(task.job, Reason.WORKER_LOST, 0.0))
                return batch[place + 1 :]
            return batch[place:]

    def _limit(self, task: _Task) -> float:
        """Seconds that a job may take."""
        return max(self.deadline, getattr(task.job, "seconds", 0.0))

    def _results(self, seconds: float) -> list[tuple[int, Any]]:
        """The next (number, result) pairs; imports in the worker stop the clock. Raises _WrongAnswer."""
        limit = seconds
        while True:
            match self._read(limit):
                case ("done", [*pairs]) if all(isinstance(p, tuple) and len(p) == 2 for p in pairs):
                    return pairs
                case ("wait",):
                    limit = START_SECONDS
                case ("go",):
                    limit = seconds
                case _:
                    raise _WrongAnswer

    def _start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        self.kill()
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p), "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-P",
            "-m",
            "rewards.verifier.worker",
            str(2 * self.deadline + 10),
            *self.owner.plugins,
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        try:
            self._read(START_SECONDS)
        except (_Late, EOFError, OSError, _WrongAnswer) as error:
            raise VerifierError(
                "a grading process does not start", self._last_words() or "see the machine's memory"
            ) from error
        assert self.process.stderr is not None
        threading.Thread(target=_drain, args=(self.process.stderr,), daemon=True).start()

    def _last_words(self) -> str:
        if self.process is None or self.process.stderr is None:
            return ""
        self.process.kill()
        lines = self.process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _read(self, seconds: float) -> Any:
        """The next message. Raises _Late, EOFError or _WrongAnswer."""
        assert self.process is not None and self.process.stdout is not None
        end = time.monotonic() + seconds
        size = worker.HEADER.size
        while True:
            if len(self.buffer) >= size:
                (length,) = worker.HEADER.unpack(self.buffer[:size])
                if len(self.buffer) >= size + length:
                    data, self.buffer = self.buffer[size : size + length], self.buffer[size + length :]
                    message, error = attempt(pickle.loads, data)
                    if error is not None:
                        raise _WrongAnswer from error
                    return message
            left = end - time.monotonic()
            if left <= 0 or not _readable(self.process.stdout.fileno(), left):
                raise _Late
            chunk = os.read(self.process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise EOFError
            self.buffer += chunk

    def _finish(self) -> None:
        """Let the process end by itself: it keeps its parsed golds."""
        process = self.process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(timeout=3)
        self.kill()

    def stop(self) -> None:
        """End the process from another thread; the lane's own thread cleans up."""
        process = self.process
        if process is not None:
            process.kill()

    def kill(self) -> None:
        """End the process and forget what it had said."""
        process, self.process, self.buffer = self.process, None, b""
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(seconds * 1000))


def _drain(stream: Any) -> None:
    """Keep a worker's stderr from filling up; libraries warn there."""
    with stream:
        while stream.read(1 << 16):
            continue


def _deliver(task: _Task, result: Any) -> None:
    if not task.future.cancelled() and task.future.set_running_or_notify_cancel():
        task.future.set_result(result)


def _failed(job: Job | ClusterJob, reason: Reason, seconds: float) -> Any:
    if isinstance(job, ClusterJob):
        return classes(job.answers, lambda a, b: a == b)
    return {p: verdict(None, str(reason), p, None, seconds) for p in job.protocols}
