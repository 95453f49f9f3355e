"""Costs are those of the work: processes add up, the time between them and other jobs' memory do not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.core.clock import Clock, Peak
from harness.core.files import JsonlWriter


def session(folder: Path, began: float, last_write: float, before: float = 0.0) -> None:
    """A process that began and wrote its last line so many seconds ago."""
    now = time.time()
    with JsonlWriter(folder / "sessions.jsonl") as out:
        out.append({"start": now - began, "before": before})
    (folder / "log.jsonl").write_text("{}\n")
    os.utime(folder / "log.jsonl", (now - last_write, now - last_write))


def clock(folder: Path) -> Clock:
    return Clock(folder / "sessions.jsonl", folder / "log.jsonl")


def test_the_time_between_two_processes_is_nobodys(tmp_path: Path) -> None:
    """Two days ago a process worked for an hour; before it another had for a minute."""
    session(tmp_path, 172_800 + 3600, 172_800, before=60)
    found = clock(tmp_path)
    assert found.seconds == pytest.approx(3660, abs=1)
    JsonlWriter(tmp_path / "log.jsonl").close()  # opening a log writes to it
    time.sleep(0.05)
    assert clock(tmp_path).seconds == pytest.approx(3660, abs=1), "a third process goes on from there"


def test_a_process_that_wrote_nothing_counts_nothing(tmp_path: Path) -> None:
    session(tmp_path, 100, 5000)
    assert clock(tmp_path).seconds == pytest.approx(0, abs=1)
    assert Clock(spent=12.0).seconds == pytest.approx(12, abs=1)


def test_the_peak_is_that_of_this_job(tmp_path: Path) -> None:
    """A job after one that took 200 MB does not report them as its own."""
    big = bytearray(200_000_000)
    big[::4096] = b"x" * len(big[::4096])
    first = Peak().bytes
    if first is None:
        pytest.skip("this system does not let a process start its high-water mark anew")
    del big
    second = Peak()
    small = bytearray(20_000_000)
    small[::4096] = b"x" * len(small[::4096])
    found = second.bytes
    assert found is not None and first - found > 100_000_000
