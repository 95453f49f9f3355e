"""The `view` verb: a folder in, its page on this machine's loopback address until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from harness.core.terminal import stdout


def main(
    folder: Path,
    port: int = 0,
    baseline: str = "base",
    data_dirs: Mapping[str, Path] | None = None,
    console: Console | None = None,
) -> None:
    """Serve until interrupted. Raises RlfrEvalError (no finished run, port taken)."""
    from leaderboards.board import Choice, collect
    from leaderboards.page.site import Site
    from leaderboards.page.view import address, serve

    console = console or stdout()
    started = time.perf_counter()
    board = collect(folder, Choice(baseline=baseline))
    server = serve(Site(board, None, data_dirs), port)
    took = time.perf_counter() - started
    samples = sum(e.results["samples"] for e in board.evaluations)
    console.print(f"{address(server)}  {samples:,} samples, read in {took:.1f} s; Ctrl-C ends it", highlight=False)
    for reason in board.refused:
        console.print(reason, style="red", highlight=False, soft_wrap=True, markup=False)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        console.print("ended", highlight=False)
    finally:
        server.server_close()
