"""A real Chromium for tests of the page, and a folder of runs made to be looked at."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.files import read_json
from harness.core.runs import write_manifest
from tests.leaderboards.synthetic import draw, evaluation, facts

HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> </script> $\\href{javascript:alert(1)}{x}$ "
    "\u2028 \\boxed{\\frac{1}{2}} and $x^2$ "
)
LONG = HOSTILE + "word " * 20_000 + "THE END"


def chromium() -> str:
    """Path of a Chromium; the test is skipped where there is none, or no playwright."""
    pytest.importorskip("playwright", reason="playwright is not installed (pip install -e '.[dev]')")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    return found


@dataclass
class Seen:
    """What a page complained about."""

    errors: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator[Any]:
    """A running browser."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        running = tools.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@contextmanager
def opened(running: Any, address: str, **options: Any) -> Iterator[tuple[Any, Seen]]:
    """A page at an address, and its console errors, failed requests and exceptions."""
    context = running.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page, seen = context.new_page(), Seen()
    page.set_default_timeout(8000)
    page.on("console", lambda m: seen.errors.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: seen.errors.append(str(e)))
    page.on("requestfailed", lambda r: seen.errors.append(f"failed: {r.url}"))
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    yield page, seen
    context.close()


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true. Asked from outside: the page's own policy forbids it to evaluate texts."""
    deadline = time.monotonic() + 8
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < deadline, f"{expression} never came true"
        time.sleep(0.02)


def settle(page: Any) -> None:
    """Wait until the page shows what its address says."""
    until(page, "document.documentElement.dataset.ready === location.hash && !document.querySelector('.loading')")


def folder(out: Path) -> None:
    """Two tasks, three methods, two seeds; one response is hostile and long; training logs and token signals."""
    for task, base, moved in (("toy-a", 0.3, 0.2), ("toy-b", 0.5, 0.05)):
        evaluation(out, facts("base"), draw(120, base, 0), task=task, cut=0.1)
        for seed in (0, 1):
            for k, method in enumerate(("grpo", "rlfr")):
                made = evaluation(out, facts(method, seed), draw(120, base + moved, 10 * k + seed), task=task)
                train(made.parents[1], seed, k)
    rewrite(next(out.glob("*/rlfr/*/s0-*/eval/toy-a-*")), 3, LONG)


def rewrite(folder: Path, line: int, response: str) -> None:
    """Another response in one line of a finished evaluation, sealed again."""
    log = folder / "samples.jsonl"
    rows = [json.loads(text) for text in log.read_text("utf-8").splitlines()]
    rows[line]["response"] = response
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    manifest = read_json(folder / "manifest.json")
    write_manifest(
        folder, {k: v for k, v in manifest.items() if k not in ("files", "finished")}, list(manifest["files"])
    )


def train(run: Path, seed: int, k: int) -> None:
    """A training log of twenty steps, and two rollouts of the last with an advantage and a score for each token."""
    train = run / "train"
    (train / "rollouts").mkdir(parents=True, exist_ok=True)
    steps = range(1, 21)
    lines = [{"step": s, "reward": 0.02 * s + 0.05 * k + 0.03 * seed, "entropy": 1 / s, "loss": None} for s in steps]
    (train / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    ids = np.arange(12).reshape(2, 6) % 5 + 10
    signal = np.linspace(-1, 1, 12).reshape(2, 6)
    np.savez(
        train / "rollouts" / "step-000020.npz",
        keys=np.array(["7#0", "7#1"]),
        ids=ids,
        mask=np.ones((2, 6), bool),
        outcome=np.array([1.0, 0.0]),
        advantage=signal,
        **{"signal/old.score": -signal},
    )
