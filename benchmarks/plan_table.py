"""What `rlfr-eval plan` says of the shipped recipes on 1, 4 and 8 GPUs, as the table of docs/gpu.md. Needs no GPU.

    python -m benchmarks.plan_table [--write]

Prints the table, or puts it into the guide between its two marks.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path

from harness.core import config
from harness.core.files import write_text
from harness.models.memory import GIB, KNOWN_PARAMETERS

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "gpu.md"
MARKS = ("<!-- python -m benchmarks.plan_table --write -->", "<!-- end of the table -->")
MEMORY = 80
METHOD = "rlfr"
GPUS = (1, 4, 8)
HEAD = "| recipe and GPUs | peak in | GiB | does it fit 80 GiB? | seconds a step | GiB a checkpoint |\n|---|---|---|---|---|---|"


def recipes() -> list[str]:
    """Recipes whose policy's shape is known without the hub and is no built-in one."""
    return [name for name in config.recipes() if config.load(name).model.path in KNOWN_PARAMETERS]


def row(name: str, gpus: int) -> str:
    from harness.cli import app

    said = io.StringIO()
    words = ["--recipe", name, "--method", METHOD, "--gpus", str(gpus), "--gpu-memory", str(MEMORY), "--json"]
    with contextlib.redirect_stdout(said):
        code = app.main(["plan", *words])
    if code:
        raise SystemExit(code)
    found = json.loads(said.getvalue())
    peak = found["phases"][found["peak"]]["total"] / GIB
    verdict = "yes" if found["fits"] else f"with `{found['advice']}`"
    seconds, disk = found["seconds_per_step"]["total"], found["checkpoint_bytes"] / GIB
    return f"| {name}, {gpus} | {found['peak']} | {peak:.1f} | {verdict} | {seconds:.0f} | {disk:.1f} |"


def table() -> str:
    return "\n".join([HEAD, *(row(name, gpus) for name in recipes() for gpus in GPUS)])


def written() -> str:
    """The table as it stands in the guide."""
    return GUIDE.read_text("utf-8").split(MARKS[0])[1].split(MARKS[1])[0].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    made = table()
    if parser.parse_args().write:
        text = GUIDE.read_text("utf-8")
        before, rest = text.split(MARKS[0])
        write_text(GUIDE, f"{before}{MARKS[0]}\n\n{made}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}")
    else:
        print(made)


if __name__ == "__main__":
    main()
