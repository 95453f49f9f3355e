"""The `plan` verb: a recipe in; its memory and time by phase out, before anything is loaded or downloaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import flags

if TYPE_CHECKING:
    from harness.pipeline.estimate.report import Estimate

Recipe = Annotated[str, typer.Option(help="The recipe: rlfr-eval list recipes.", metavar="NAME")]
Method = Annotated[str, typer.Option(help="The method that trains.", metavar="M")]
Gpus = Annotated[int, typer.Option(min=1, help="GPUs of one run; above 1 by arithmetic alone.", metavar="N")]
GpuMemory = Annotated[float, typer.Option(min=1, help="GiB of one GPU.", metavar="GIB")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def plan_(
    recipe: Recipe,
    method: Method = "rlfr",
    gpus: Gpus = 1,
    gpu_memory: GpuMemory = 80.0,
    set_: flags.Sets = None,
    plugin: flags.Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Peak memory of every phase at the recipe's true shapes, seconds a step, tokens, disk. Needs no GPU.

    \b
    rlfr-eval plan --recipe qwen2.5-math-7b --gpus 4
    rlfr-eval plan --recipe qwen2.5-vl-3b --set engine.gpu_memory=0.3

    Memory follows from the real modules on tensors without storage; with several GPUs it is arithmetic (weights,
    gradients and moments shared as FSDP2 does). Seconds are an estimate: operations over the rates that are printed.
    """
    from harness.core import config
    from harness.core.registry import load_plugin
    from harness.models.memory import GIB
    from harness.pipeline import plan
    from harness.pipeline.estimate.report import estimate

    for file in plugin or []:
        load_plugin(file)
    made = config.load(recipe, None, list(set_ or []))
    plan.check_methods(made, [method])
    found = estimate(made, plan.build_method(made, method), gpus, int(gpu_memory * GIB))
    if as_json:
        print(json.dumps(values(found), indent=2))
    else:
        _print(found, recipe, method)


def values(found: Estimate) -> dict[str, Any]:
    """The estimate as plain values; bytes and seconds."""
    return {
        "phases": {p.name: {"total": p.total, **p.parts} for p in found.phases},
        "peak": found.peak.name,
        "memory": found.setup.memory,
        "fits": found.fits,
        "advice": found.advice,
        "seconds_per_step": {**found.work.seconds, "total": found.work.total},
        "tokens_per_step": {"sampled": found.work.sampled, "prompts": found.work.prompts},
        "checkpoint_bytes": found.checkpoint,
        "host_bytes": found.host,
    }


def _print(found: Estimate, recipe: str, method: str) -> None:
    from rich.table import Table

    from harness.core.terminal import stdout
    from harness.models.memory import GIB
    from harness.pipeline.estimate.seconds import BANDWIDTH, OPERATIONS

    console, setup = stdout(), found.setup
    by = "" if setup.gpus == 1 else "; shares of several GPUs are arithmetic, training on several is not there yet"
    console.print(f"{recipe}, {method}, {setup.gpus} x {setup.memory / GIB:.0f} GiB{by}", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("phase", "GiB", "of which", "seconds (estimate)"):
        table.add_column(name, justify="right" if name in ("GiB", "seconds (estimate)") else "left")
    for phase in found.phases:
        parts = ", ".join(f"{n} {b / GIB:.1f}" for n, b in phase.parts.items() if b >= GIB / 20)
        spent = found.work.seconds.get(phase.name, 0.0)
        shown = f"{spent:.1f}" if spent else ""
        table.add_row(
            phase.name, f"{phase.total / GIB:.1f}", parts, shown, style="bold" if phase is found.peak else None
        )
    console.print(table)
    verdict = "fits" if found.fits else f"does not fit; it does with {found.advice}"
    work = found.work
    for line in (
        f"peak: {found.peak.name}, {found.peak.total / GIB:.1f} of {setup.memory / GIB:.0f} GiB: {verdict}",
        f"a step: {work.total:.0f} s (estimate at {OPERATIONS / 1e12:.0f} TFLOP/s and {BANDWIDTH / 1e12:.1f} TB/s, every "
        f"response at full length), {work.sampled:,} sampled and {work.prompts:,} prompt tokens",
        f"disk: {found.checkpoint / GIB:.1f} GiB a checkpoint, two are kept until the run is finished; "
        f"host memory: {found.host / GIB:.1f} GiB for the start policy",
        "not counted: the context of CUDA, what vLLM keeps asleep, the allocator's fragmentation; leave a few GiB",
    ):
        console.print(line, highlight=False)


def register(app: typer.Typer) -> None:
    app.command("plan", short_help="Memory and time of a recipe by phase, without a GPU.")(plan_)
