"""Write the page into a folder, so that it opens from disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.core.errors import ImageError, RunError
from leaderboards.page.site import Site
from leaderboards.table import Board

MARK = ".rlfr-eval-page"


def write(board: Board, folder: Path, samples: int | None, data_dirs: Mapping[str, Path] | None = None) -> Path:
    """The page's index.html. A page that was written there before is replaced; another folder is refused (RunError).

    It is written beside and moved into place, so that a killed run leaves the old page whole.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not a page that was written here", "move it away or give another --out")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    site = Site(board, samples, data_dirs)
    for path in site.paths():
        target = partial / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_bytes(site.content(path))
        except ImageError:
            continue  # the page says that this picture is not at hand
    (partial / MARK).write_text("written by rlfr-eval leaderboard --format html\n", "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return folder / "index.html"
