"""Run folders: where they are, how they are written so that a kill loses nothing, and how they are read back.

In: results, log lines and facts of a run. Out: `runs/<model>/<method>/<train-task>/s<seed>-<hash>/` with config.yaml, train/,
checkpoints/, policy/ and eval/<task>-<key8>/{samples.jsonl, results.json, manifest.json}. Log lines are flushed one by one;
a manifest is written last, so a folder without one is unfinished; a lock names the process that owns a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.core.errors import RunError
from harness.core.files import read_json, read_log, sha256, timestamp, write_json
from harness.core.records import SCHEMA

MANIFEST, RESULTS, SAMPLES = "manifest.json", "results.json", "samples.jsonl"
IDENTITY, CONFIG, POLICY = "identity.json", "config.yaml", "policy"
_NOT_EVALUATIONS = {"checkpoints", POLICY, "train", "__pycache__"}
_BESIDE_RECIPE = ("method", "seed", "key", "method_options", "prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Which run a result belongs to; stored in every results.json under `run`.

    `setting`: content hash of the recipe (all that is equal for the methods of one table); `config`: content hash of the
    whole configuration without the seed, method options included: seeds of one `config` are averaged. `label` names a
    policy trained elsewhere. `paper`: the recipe values of the method's paper were applied, so the row is not ranked.
    Costs of training: wall seconds, tokens sampled, optimiser steps, bytes at the peak.
    """

    model: str
    method: str
    seed: int = 0
    train_task: str = ""
    recipe: str = ""
    setting: str = ""
    config: str = ""
    label: str = ""
    paper: bool = False
    policy: str = ""
    train_seconds: float = 0.0
    train_tokens: int = 0
    train_steps: int = 0
    peak_bytes: int | None = None
    overlap: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What the row is called: the label of an outside policy, else the method."""
        return self.label or self.method


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The config.yaml of a run or an evaluation, read back.

    recipe: plain recipe values. method, method_options: what trained the policy. seed: of training and sampling. prompt:
    what surrounded the questions, as values of the recipe's `rendering`; the method's own where it has one.
    """

    recipe: Mapping[str, Any]
    method: str
    method_options: Mapping[str, Any]
    seed: int
    prompt: Mapping[str, Any]


def read_settings(folder: Path) -> Settings:
    """The settings in a folder's config.yaml. Raises RunError when it cannot be read or holds no configuration."""
    file = folder / CONFIG
    try:
        values = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(f"{file} cannot be read ({type(error).__name__})", "name a recipe with --recipe") from error
    if not isinstance(values, dict) or "method" not in values or not isinstance(values.get("model"), dict):
        raise RunError(f"{file} holds no configuration of a run", "name a recipe with --recipe")
    return Settings(
        recipe={k: v for k, v in values.items() if k not in _BESIDE_RECIPE},
        method=str(values["method"]),
        method_options=dict(values.get("method_options") or {}),
        seed=int(values.get("seed") or 0),
        prompt=dict(values.get("prompt") or {}),
    )


def settings_of(evaluation: Path) -> Path:
    """The folder whose config.yaml an evaluation was made with: its own, else (from a training that wrote none) its run's."""
    return evaluation if (evaluation / CONFIG).is_file() else evaluation.parents[1]


def slug(text: str) -> str:
    """A folder name: `Qwen/Qwen2.5-VL-3B` becomes `Qwen--Qwen2.5-VL-3B`."""
    return re.sub(r"[^\w.+=-]+", "-", text.strip("/").replace("/", "--")).strip(".-") or "unnamed"


def run_folder(out: Path, *, model: str, method: str, train_task: str, seed: int, key: str) -> Path:
    """`out/<model>/<method>/<train-task>/s<seed>-<key>`; `key` is the content hash of the run (8 characters are used)."""
    return Path(out) / slug(model) / slug(method) / slug(train_task or "none") / f"s{seed}-{key[:8]}"


def write_manifest(folder: Path, facts: Mapping[str, Any], files: Sequence[str] = ()) -> dict[str, Any]:
    """The mark of a finished folder, written last: schema, time, `facts`, and size and sha256 of the named files."""
    listed = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in files}
    manifest = {"schema": SCHEMA, "finished": timestamp(), **facts, "files": listed}
    write_json(folder / MANIFEST, manifest)
    return manifest


def finished(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished folder, else None."""
    return read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished evaluation, read back."""

    folder: Path
    results: Mapping[str, Any]

    def samples(self) -> Iterator[dict[str, Any]]:
        """Lines of samples.jsonl in the order in which they were written."""
        return read_log(self.folder / SAMPLES)


def read_evaluation(folder: Path) -> Finished:
    """A finished evaluation folder. Raises RunError when it is unfinished, of another schema, or not what its manifest says."""
    manifest = finished(folder)
    if manifest is None:
        raise RunError(f"{folder} is not a finished evaluation (no {MANIFEST})", "re-run its command, which resumes")
    results = read_json(folder / RESULTS)
    if results.get("schema") != SCHEMA:
        raise RunError(f"{folder} has schema {results.get('schema')}, this version reads {SCHEMA}", "evaluate it again")
    check_files(folder, manifest)
    return Finished(folder, results)


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises RunError for a file that is not what its manifest says: edited, cut or lost since the folder was finished."""
    for name, facts in manifest.get("files", {}).items():
        file = folder / name
        if not file.is_file():
            raise RunError(f"{file} is missing", "evaluate again: delete the folder and run its command")
        if file.stat().st_size != facts["bytes"] or sha256(file) != facts["sha256"]:
            raise RunError(f"{file} was changed after it was finished", "delete the folder and evaluate again")


def evaluation_folders(out: Path) -> list[Path]:
    """The folders of all finished evaluations below a folder, in path order; unfinished ones are left out."""
    found = []
    for root, folders, files in os.walk(out):
        folders[:] = sorted(f for f in folders if f not in _NOT_EVALUATIONS)
        if MANIFEST in files and RESULTS in files:
            found.append(Path(root))
    return found


def evaluations(out: Path) -> list[Finished]:
    """All finished evaluations below a folder, read. Raises RunError for the first that cannot be."""
    return [read_evaluation(folder) for folder in evaluation_folders(out)]
