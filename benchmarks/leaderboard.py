"""Speed of tables and page: 200 runs of 1,000 items, and a run of 50,000 samples, made up and read back.

`python benchmarks/leaderboard.py` prints seconds for: the table (50 methods, 2 seeds, 2 tasks; and 200 methods of one seed on
one task), the page built, the page opened from disk in Chromium, `view` ready, and its samples in Chromium. Needs playwright
and a Chromium.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from leaderboards import board
from leaderboards.page import view
from leaderboards.page.site import Site
from tests.leaderboards import browser, synthetic


def name(number: int) -> str:
    return f"method-{number:03d}" if number else "base"


def wide(out: Path) -> None:
    for task in ("toy-a", "toy-b"):
        for m in range(50):
            for seed in (0, 1):
                right = synthetic.draw(1000, 0.4 + 0.004 * m, 10 * m + seed)
                synthetic.evaluation(out, synthetic.facts(name(m), seed), right, task=task)


def long(out: Path) -> None:
    for m in range(200):
        synthetic.evaluation(out, synthetic.facts(name(m)), synthetic.draw(1000, 0.4 + 0.001 * m, 10 * m), task="toy-a")


def deep(out: Path) -> None:
    """50,000 samples with questions and responses of a usual length."""
    short: Callable[..., Any] = synthetic._sample

    def longer(*words: Any) -> Any:
        made = short(*words)
        return replace(made, response=made.response + " and so on" * 100, question="What is the area of ABC? " * 8)

    synthetic._sample = longer
    synthetic.evaluation(out, synthetic.facts("rlfr"), synthetic.draw(50_000, 0.5, 1))
    synthetic._sample = short


def table(out: Path, formats: str) -> float:
    """Seconds of the whole command, its start included."""
    words = [sys.executable, "-m", "harness.cli.app", "leaderboard", "--out", str(out), "--format", formats]
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - started


def opened(running: Any, address: str) -> float:
    """Slowest of three openings in a fresh context, until the view is there."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        with browser.opened(running, address) as (page, _):
            browser.until(page, "!document.querySelector('.loading')")
            seconds.append(time.perf_counter() - started)
    return max(seconds)


def say(what: str, seconds: float, bound: float | None = None) -> None:
    print(f"{what}: {seconds:.2f} s" + (f" (bound {bound:g} s)" if bound else ""))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browser.browser() as running:
        place = Path(folder)
        wide(place / "wide")
        long(place / "long")
        deep(place / "deep")
        say("table, 50 methods x 2 seeds x 2 tasks", table(place / "wide", "md,csv"), 10)
        say("table, 200 methods, one seed, one task", table(place / "long", "md,csv"), 10)
        say("page, built", table(place / "wide", "html"))
        page = (place / "wide" / "leaderboard" / "index.html").as_uri()
        for route in ("", "#/task/toy-a", "#/samples/3"):
            say(f"page from disk {route or 'overview'}", opened(running, page + route), 2)
        started = time.perf_counter()
        server = view.serve(Site(board.collect(place / "deep", board.Choice())))
        say("view of 50,000 samples, ready", time.perf_counter() - started)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for route in ("#/samples/0", "#/samples/0?s=35000"):
            say(f"view {route}", opened(running, view.address(server) + route), 1)
        server.shutdown()


if __name__ == "__main__":
    main()
