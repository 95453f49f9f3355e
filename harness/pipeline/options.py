"""The flags of `rlfr-eval run` as one typed object: text from the command line in, RunOptions for the pipeline out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.config import Protocol
from harness.core.errors import ConfigError, DataError, near

_BUDGET = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<scale>[kKM]?)\s*(?P<unit>steps?|tokens?)?")
_SCALES = {"": 1, "k": 1000, "K": 1000, "M": 1_000_000}


@dataclass(frozen=True, slots=True)
class Budget:
    """What training may spend: optimiser-independent `steps`, or `sampled_tokens`; exactly one is set."""

    steps: int | None = None
    sampled_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """One `rlfr-eval run`. Names are the flags'; None means: not given, so the recipe decides.

    `data_dirs`: task -> folder; "" is the folder for every task. `ids`: item ids of --ids, in file order. `label` names
    the policy of --policy. `sets`: the texts of --set.
    """

    tasks: tuple[str, ...]
    methods: tuple[str, ...] = ()
    model: str | None = None
    policy: Path | None = None
    label: str | None = None
    recipe: str | None = None
    seeds: tuple[int, ...] = (0,)
    budget: Budget | None = None
    n: int | None = None
    temperature: float | None = None
    max_new_tokens: int | None = None
    protocol: Protocol | None = None
    limit: int | None = None
    ids: tuple[str, ...] | None = None
    data_dirs: Mapping[str, Path] = field(default_factory=dict)
    engine: str | None = None
    server: str | None = None
    plugins: tuple[Path, ...] = ()
    config: Path | None = None
    sets: tuple[str, ...] = ()
    paper: bool = False
    out: Path = Path("runs")

    def overrides(self) -> dict[str, Any]:
        """The flags as dotted recipe keys. Several samples are drawn at temperature 0.6, top_p 0.95 unless told otherwise."""
        values: dict[str, Any] = {"model.path": self.model, "engine.name": self.engine, "engine.server": self.server}
        if self.budget is not None and self.budget.steps is not None:
            values["train.steps"] = self.budget.steps
        if self.budget is not None:
            values["train.sampled_tokens"] = self.budget.sampled_tokens
        if self.n is not None and self.n > 1:
            values |= {"evaluation.temperature": 0.6, "evaluation.top_p": 0.95}
        values |= {
            "evaluation.n": self.n,
            "evaluation.max_new_tokens": self.max_new_tokens,
            "evaluation.protocol": self.protocol,
        }
        if self.temperature is not None:
            values["evaluation.temperature"] = self.temperature
        return {key: value for key, value in values.items() if value is not None}


def check(options: RunOptions) -> RunOptions:
    """The options, or a ConfigError for flags that contradict each other."""
    if not options.tasks:
        raise ConfigError("no task to evaluate", "give --task NAME (rlfr-eval list tasks)")
    if options.policy is None and not options.methods:
        raise ConfigError(
            "no method to train", "give --method NAME (rlfr-eval list methods), or --policy PATH --label NAME"
        )
    if options.label is not None and options.policy is None:
        raise ConfigError("--label names the policy of --policy", "give --policy PATH too")
    if options.policy is not None and options.label is None:
        raise ConfigError("--policy needs a name for its row", "give --label NAME")
    if options.policy is not None and options.methods:
        raise ConfigError("--policy is evaluated as it is, --method trains", "give one of them per command")
    if options.policy is not None and options.model is not None:
        raise ConfigError("--policy and --model both name a model", "give one of them")
    if options.n is not None and options.n > 1 and options.temperature == 0:
        raise ConfigError("--n with --temperature 0 draws the same sample n times", "raise --temperature or drop --n")
    if options.limit is not None and options.ids is not None:
        raise ConfigError("--limit and --ids both choose items", "give one of them")
    return options


def names(text: str, flag: str) -> tuple[str, ...]:
    """`a,b` as ("a", "b"), each once, in order. Raises ConfigError for an empty name."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ConfigError(f"{flag} '{text}' has an empty name", f"write {flag} a,b")
    return tuple(dict.fromkeys(parts))


def seeds(text: str) -> tuple[int, ...]:
    """`0,1` as (0, 1)."""
    found = []
    for part in names(text, "--seed"):
        if not part.isdecimal():
            raise ConfigError(f"--seed '{part}' is not a whole number from 0", "write --seed 0,1")
        found.append(int(part))
    return tuple(dict.fromkeys(found))


def budget(text: str) -> Budget:
    """`200` or `200steps` as steps; `2000tokens`, `2Mtokens` as sampled tokens."""
    match = _BUDGET.fullmatch(text.strip())
    number = float(match["number"]) * _SCALES[match["scale"]] if match else 0.0
    if match is None or number != int(number) or number < 1:
        raise ConfigError(f"--budget '{text}' is not an amount", "write steps (200) or tokens (2Mtokens)")
    if (match["unit"] or "steps").startswith("token"):
        return Budget(sampled_tokens=int(number))
    return Budget(steps=int(number))


def data_dirs(texts: Sequence[str]) -> dict[str, Path]:
    """`DIR` or `TASK=DIR` each. Raises DataError for a folder that does not exist."""
    found: dict[str, Path] = {}
    for text in texts:
        task, sep, folder = text.partition("=")
        if not sep:
            task, folder = "", text
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise DataError(f"--data-dir {text}: no folder {path}", "give the folder that holds the task's files")
        if task in found:
            raise ConfigError(f"--data-dir for {task or 'every task'} is given twice", "give it once")
        found[task] = path
    return found


def read_ids(path: Path) -> tuple[str, ...]:
    """Item ids of a file: one per line (`#` starts a comment line), or one JSON list. Raises DataError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"--ids {path} cannot be read ({type(error).__name__})", "give a text file, one id per line"
        ) from error
    if text.lstrip().startswith("["):
        try:
            ids = [str(i) for i in json.loads(text)]
        except ValueError as error:
            raise DataError(f"--ids {path} is not a JSON list ({error})", "write one id per line instead") from error
    else:
        ids = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not ids:
        raise DataError(f"--ids {path} names no item", "write one id per line")
    return tuple(dict.fromkeys(ids))


def protocol(text: str | None) -> Protocol | None:
    """`official` or `strict`; None stays None."""
    if text is None or text in ("official", "strict"):
        return text  # type: ignore[return-value]
    raise ConfigError(f"--protocol '{text}'", near(text, ("official", "strict")))
