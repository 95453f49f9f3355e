"""The `reproduce` verb: a finished evaluation in, the same work done again from its manifest, and whether both agree.

The settings come from the evaluation's config.yaml, the decoding and the items from results.json, nothing from today's defaults.
Bitwise agreement (every response equal) is promised by the transformers engine on one machine and one set of libraries;
anywhere else, agreement is a paired difference whose interval holds 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from harness.core.config import digest, to_yaml
from harness.core.errors import RunError
from harness.core.files import write_text
from harness.core.runs import Finished, evaluation_folders, read_evaluation, read_settings, settings_of
from harness.core.terminal import stdout
from leaderboards.conditions import conditions, differing, get, versions
from leaderboards.formats import cells
from leaderboards.groups import groups, read
from leaderboards.stats.differences import ALPHA, Difference, compare

if TYPE_CHECKING:
    from harness.pipeline.options import RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What came of it. `same`: samples whose response is equal; `changed`: what is not the same now, in words;
    `agrees`: all responses equal, or the interval of the difference holds 0."""

    original: Path
    again: Path
    samples: int
    same: int
    accuracy: tuple[float, float]
    difference: Difference
    changed: str
    agrees: bool

    @property
    def bitwise(self) -> bool:
        return self.same == self.samples


def main(
    row: Path,
    out: Path,
    data_dirs: Mapping[str, Path],
    plugins: Sequence[Path] = (),
    dry_run: bool = False,
    console: Console | None = None,
) -> int:
    """Do it and print the outcome: 0 when it agrees, 1 when not. Raises RunError for a row that holds no recipe."""
    console = console or stdout()
    codes = []
    for folder in _evaluations(row):
        finished = read_evaluation(folder)
        options = replace(rerun_options(finished, out), data_dirs=data_dirs, plugins=tuple(plugins))
        console.print(f"{finished.folder}: {_words(options)}", highlight=False, markup=False, soft_wrap=True)
        if dry_run:
            continue
        from harness.pipeline import run

        (again,) = run.run(options)
        found = agreement(finished, read_evaluation(again))
        _show(found, console)
        codes.append(0 if found.agrees else 1)
    return max(codes, default=0)


def _evaluations(row: Path) -> list[Path]:
    if not row.is_dir():
        raise RunError(f"no folder {row}", "give a run or an evaluation folder")
    found = evaluation_folders(row)
    if not found:
        raise RunError(f"{row} holds no finished evaluation", "run its command again, which resumes")
    return found


def rerun_options(finished: Finished, out: Path) -> RunOptions:
    """The flags that do the work of a finished evaluation again, in a folder of its own below `out`.

    Raises RunError for recorded responses, and for a run whose config.yaml is missing or no longer its configuration.
    """
    from harness.pipeline.options import RunOptions

    run = finished.results.get("run") or {}
    if "responses" in (finished.results.get("generation") or {}) or run.get("label"):
        raise RunError(f"{finished.folder} was not made by a recipe", "score or --policy does such a row again")
    settings, method, seed = _settings(finished)
    evaluation = _decoding(finished.results)
    settings["evaluation"] = {**settings.get("evaluation", {}), **evaluation}
    file = out / f"reproduce-{digest(settings, method, seed)[:8]}.yaml"
    write_text(file, to_yaml(settings))
    ids = tuple(dict.fromkeys(str(s["id"]) for s in finished.samples()))
    return RunOptions(
        tasks=(str(finished.results["task"]),),
        methods=(method,),
        recipe=str(settings.get("name") or run.get("recipe")),
        seeds=(seed,),
        ids=ids,
        config=file,
        paper=bool(run.get("paper")),
        out=out,
    )


def _settings(finished: Finished) -> tuple[dict[str, Any], str, int]:
    """The recipe of config.yaml, the method and the seed."""
    read = read_settings(settings_of(finished.folder))
    settings = dict(read.recipe)
    if read.method_options:
        settings["methods"] = {**(settings.get("methods") or {}), read.method: dict(read.method_options)}
    return settings, read.method, int(get(finished.results, "run", "seed") or 0)


def _decoding(results: Mapping[str, Any]) -> dict[str, Any]:
    sampling = get(results, "generation", "sampling") or {}
    found = {k: sampling[k] for k in ("n", "temperature", "top_p", "max_new_tokens") if k in sampling}
    return {**found, "protocol": results["protocol"]}


def _words(options: RunOptions) -> str:
    parts = [f"--task {options.tasks[0]}", f"--method {options.methods[0]}", f"--seed {options.seeds[0]}"]
    return f"rlfr-eval {' '.join(parts)} --recipe {options.recipe} --config {options.config} --out {options.out}"


def agreement(original: Finished, again: Finished) -> Agreement:
    """Compare sample by sample and as a paired difference. Raises RunError where they hold other items."""
    ours = {(str(s["id"]), s["sample_index"]): s for s in original.samples()}
    theirs = {(str(s["id"]), s["sample_index"]): s for s in again.samples()}
    if ours.keys() != theirs.keys():
        raise RunError(f"{again.folder} holds other samples than {original.folder}", "the task's data have changed")
    same = sum(
        s["response"] == theirs[key]["response"] and s["verdict"] == theirs[key]["verdict"] for key, s in ours.items()
    )
    members, refused = read([original, again])
    if refused:
        raise RunError(refused[0], "evaluate it again")
    (a, *_), (b, *_) = (groups([m])[0] for m in members)
    difference = compare([a.scores], [b.scores])
    changed = differing(
        {**conditions(again.results), **versions(again.results)},
        {**conditions(original.results), **versions(original.results)},
    )
    return Agreement(
        original=original.folder,
        again=again.folder,
        samples=len(ours),
        same=same,
        accuracy=(float(a.scores.matrix.mean()), float(b.scores.matrix.mean())),
        difference=difference,
        changed=changed,
        agrees=same == len(ours) or difference.p >= ALPHA,
    )


def _show(found: Agreement, console: Console) -> None:
    before, now = (cells.percent(v) for v in found.accuracy)
    lines = [f"then {before}, again {now}; {found.same} of {found.samples} responses and verdicts are equal"]
    if found.changed:
        lines.append(f"not the same now: {found.changed}")
    if found.bitwise:
        lines.append("it agrees, response by response")
    else:
        d = found.difference
        said = "no difference can be told" if found.agrees else "it does not agree"
        lines.append(f"difference {cells.points(d)} points, p {d.p:.3g} ({d.test}): {said}")
    lines.append(f"the new run is {found.again}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
