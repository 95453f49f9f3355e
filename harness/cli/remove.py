"""The `rm` verb: a run, an evaluation or a scored folder goes, or the checkpoints of a run; nothing else ever does."""

from __future__ import annotations

import shutil
from pathlib import Path

import typer
from rich.console import Console

from harness.core.errors import RunError
from harness.core.locks import Lock
from harness.core.runs import RESULTS, SAMPLES
from harness.core.terminal import stdout

_OURS = {
    "a run": (("config.yaml", "train"), ("config.yaml", "eval"), ("config.yaml", "checkpoints")),
    "an evaluation": ((SAMPLES, "sessions.jsonl"), (SAMPLES, RESULTS)),
    "a scored folder": ((SAMPLES, "score.json"),),
}


def kind(folder: Path) -> str:
    """What the folder is. Raises RunError for one that is none of ours, a link, or one that is in use by nobody's leave."""
    if folder.is_symlink() or not folder.is_dir():
        raise RunError(f"no folder {folder}", "give a run, an evaluation or the --out of score")
    for name, signs in _OURS.items():
        if any(all((folder / file).exists() for file in files) for files in signs):
            return name
    raise RunError(f"{folder} is no run, no evaluation and no scored folder", "name one of those inside it")


def size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())


def main(folder: Path, yes: bool, checkpoints: bool = False, console: Console | None = None) -> bool:
    """Ask, then delete; returns whether it was done. Raises RunError for a folder that is not ours or is in use.

    A finished run keeps its policy and no checkpoints, so that there is nothing to delete is no error.
    """
    console = console or stdout()
    what = kind(folder)
    target = folder / "checkpoints" if checkpoints else folder
    if not target.is_dir():
        console.print(f"{folder} has no checkpoints: nothing is left to delete", highlight=False)
        return False
    megabytes = size(target) / 1e6
    named = f"the checkpoints of {folder}" if checkpoints else f"{folder}, {what}"
    if not yes and not typer.confirm(f"delete {named} ({megabytes:.1f} MB)?"):
        console.print("kept", highlight=False)
        return False
    with Lock(folder):
        if checkpoints:
            shutil.rmtree(target)
        else:
            _delete(folder)
    if not checkpoints:
        _prune(folder)
    console.print(f"deleted {target}, {megabytes:.1f} MB", highlight=False, soft_wrap=True)
    return True


def _delete(folder: Path) -> None:
    """The whole folder. What marks a result as finished goes first, so that a killed deletion never leaves a whole row."""
    for manifest in [folder / "manifest.json", *folder.rglob("manifest.json")]:
        manifest.unlink(missing_ok=True)
    shutil.rmtree(folder)


def _prune(folder: Path) -> None:
    """Empty folders above, up to the fourth: model, method, task and seed."""
    for parent in list(folder.parents)[:4]:
        if any(parent.iterdir()):
            return
        parent.rmdir()
