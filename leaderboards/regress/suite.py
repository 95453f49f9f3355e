"""`rlfr-eval regress`: does a method keep its promises? A method's name in; named outcomes, a table, JUnit and an exit code out.

Four parts: contract, cost, learning, pinned numbers. Exit codes: 0 everything holds, 1 something fails, 2 it could not run.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from harness.core.errors import ConfigError, attempt
from harness.core.registry import load_plugin
from leaderboards.regress import conformance, cost, learn, pinned
from leaderboards.regress.bench import Bench
from leaderboards.regress.conformance import Outcome
from rewards.method import method

Suite = Literal["smoke", "learn"]
SEEDS = {"smoke": 1, "learn": 3}
"""How many seeds a suite trains where --seeds is not given."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags. `out`: where the learn suite keeps its runs, which a repeated line reuses."""

    method: str
    baseline: str = "grpo"
    suite: Suite = "smoke"
    seeds: int | None = None
    plugins: tuple[Path, ...] = ()
    update: bool = False
    out: Path = Path("runs")


@dataclass
class Report:
    """What was found, in the order it was tried; `costs` are medians per step of method and baseline."""

    method: str
    baseline: str
    suite: str
    outcomes: list[Outcome] = field(default_factory=list)
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.status == "fails"]

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0


def reference_file(options: Options) -> Path:
    """Where pinned numbers of the method are: with the project's for its own methods, beside the plug-in for others."""
    if options.method in method._builtin() or not options.plugins:
        return pinned.STORED
    file = options.plugins[0]
    return file.with_name(f"{file.stem}.references.json")


def run(options: Options) -> Report:
    """Try everything. Raises RlfrEvalError where it cannot be tried: unknown names, nothing that trains, no policy."""
    for file in options.plugins:
        _, error = attempt(load_plugin, file)
        if error is not None:
            raise ConfigError(f"--plugin {file}: {type(error).__name__}: {error}", "mend the file") from error
    for key in (options.method, options.baseline):
        if not method.get(key).trains:
            raise ConfigError(f"method '{key}' does not train", "name one that does (rlfr-eval list methods)")
    report = Report(options.method, options.baseline, options.suite)
    with tempfile.TemporaryDirectory(prefix="rlfr-regress-") as folder:
        _try(Bench(Path(folder)), options, report)
    return report


def _try(bench: Bench, options: Options, report: Report) -> None:
    start = time.perf_counter()
    subject = bench.subject(options.method)
    made, error = attempt(subject.make)
    swept, error = attempt(bench.sweep, made, bench.batch) if error is None else (None, error)
    report.seconds["setup"] = time.perf_counter() - start
    if error is not None or swept is None:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        report.outcomes.append(Outcome("contract", "set-up and passes run", "fails", f"raised {text}"))
        return
    ours, theirs = (partial(method.get(key)) for key in (options.method, options.baseline))
    seeds = options.seeds or SEEDS[options.suite]

    def costs() -> list[Outcome]:
        found, report.costs = cost.check(bench, ours(), theirs())
        return found

    def learning() -> list[Outcome]:
        if options.suite == "smoke":
            return learn.smoke(bench, ours, theirs, seeds)
        return learn.learn(options.method, options.baseline, seeds, options.plugins, options.out)

    parts = {
        "contract": lambda: conformance.check(subject, conformance.cases(swept)),
        "pinned": lambda: pinned.check(bench, subject, options.method, reference_file(options), options.update),
        "cost": costs,
        "learning": learning,
    }
    for name, part in parts.items():
        if options.update and name in ("cost", "learning"):
            continue
        start = time.perf_counter()
        report.outcomes += part()
        report.seconds[name] = time.perf_counter() - start


# --- what is printed and written -----------------------------------------------------------------------------------


def text(report: Report) -> str:
    """Lines for the terminal: failures in full, then the verdict."""
    lines = []
    for outcome in report.outcomes:
        lines.append(f"{outcome.status:8}{outcome.part:10}{outcome.name}")
        if outcome.detail:
            lines.append(f"{'':18}{outcome.detail}")
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items())
    verdict = f"{len(report.failed)} of {len(report.outcomes)} fail" if report.failed else "everything holds"
    return "\n".join([*lines, "", f"{report.method} ({report.suite}): {verdict} ({seconds})"])


def as_json(report: Report) -> str:
    """One JSON object with a `schema` number."""
    values: dict[str, Any] = {"schema": 1, **asdict(report), "exit_code": report.exit_code}
    return json.dumps(values, indent=1)


def junit(report: Report) -> str:
    """JUnit XML, one test case per outcome, as continuous integration reads it."""
    count = {s: str(sum(o.status == s for o in report.outcomes)) for s in ("fails", "skipped")}
    suite = ElementTree.Element(
        "testsuite",
        name=f"regress {report.method}",
        tests=str(len(report.outcomes)),
        failures=count["fails"],
        skipped=count["skipped"],
        errors="0",
        time=f"{sum(report.seconds.values()):.3f}",
    )
    for outcome in report.outcomes:
        case = ElementTree.SubElement(suite, "testcase", classname=outcome.part, name=outcome.name)
        if outcome.status != "holds":
            tag = "failure" if outcome.status == "fails" else "skipped"
            ElementTree.SubElement(case, tag, message=_printable(outcome.detail))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _printable(said: str) -> str:
    """XML holds no control characters."""
    return "".join(c if c.isprintable() else "?" for c in said)


def main(options: Options, as_json_: bool = False, junit_: Path | None = None) -> int:
    """Run, print, write; returns the exit code."""
    if junit_ is not None and not junit_.parent.is_dir():
        raise ConfigError(f"--junit {junit_}: no folder {junit_.parent}", "make it first")
    report = run(options)
    print(as_json(report) if as_json_ else text(report))
    if junit_ is not None:
        junit_.write_text(junit(report), "utf-8")
    return report.exit_code


def suite(name: str) -> Suite:
    """The suite called so. Raises ConfigError for another."""
    if name not in ("smoke", "learn"):
        raise ConfigError(f"unknown --suite '{name}'", "smoke or learn")
    return "smoke" if name == "smoke" else "learn"


__all__: Sequence[str] = ("Options", "Report", "as_json", "junit", "main", "run", "suite", "text")
