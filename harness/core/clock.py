"""What work cost: wall time over all processes that did it, without the time between them, and the peak of memory.

`sessions.jsonl` has one line per process: when it began and what was spent before. How long a process that was killed had
worked is told by the last write to the log that it was writing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from harness.core.files import JsonlWriter, read_log

SESSIONS = "sessions.jsonl"


class Clock:
    """Runs from now. `beat`: the log that is written while the work goes on; make the clock before opening it, because
    opening writes. `spent`: seconds that the work cost elsewhere."""

    def __init__(self, sessions: Path | None = None, beat: Path | None = None, spent: float = 0.0) -> None:
        self._started, self._before = time.time(), spent
        if sessions is None or beat is None:
            return
        last = list(read_log(sessions))[-1:]
        if last:
            end = beat.stat().st_mtime if beat.is_file() else 0.0
            self._before = last[0]["before"] + max(0.0, end - last[0]["start"])
        with JsonlWriter(sessions) as out:
            out.append({"start": self._started, "before": self._before})

    @property
    def seconds(self) -> float:
        """Of all processes so far."""
        return self._before + time.time() - self._started


class Peak:
    """The peak of memory from now on: of the GPU where `cuda`, else of this process's resident memory."""

    def __init__(self, cuda: bool = False) -> None:
        self.cuda = cuda
        self.started = _reset_cuda() if cuda else _reset_resident()

    @property
    def bytes(self) -> int | None:
        """None where the system cannot start the count anew: the peak of everything before would be no one's."""
        if not self.started:
            return None
        if self.cuda:
            return int(sys.modules["torch"].cuda.max_memory_allocated())
        return _status("VmHWM")


def _reset_cuda() -> bool:
    import torch

    torch.cuda.reset_peak_memory_stats()
    return True


def _reset_resident() -> bool:
    """Linux lets a process set its high-water mark to what it holds now (proc(5), clear_refs 5)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return False
    return _status("VmHWM") is not None


def _status(name: str) -> int | None:
    """A size in /proc/self/status, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
