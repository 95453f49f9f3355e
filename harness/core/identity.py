"""What a run and an evaluation are: everything that decides a number enters here by content, and nothing else does.

A run is one policy: package and code, start weights, recipe, data, engine, method, seed. An evaluation is one list of
verdicts: what was asked of which weights (`generation`), by which rules it was graded (`grading`). Two of them are the same
exactly when their parts are, so a finished one may be reused. Out of it stay paths and their spellings, how often
checkpoints are written, how work is cut into micro-batches, what is logged, and all settings of an engine but its kind.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.core.config import Recipe, digest
from harness.core.records import Example, LazyImage

ROOT = Path(__file__).resolve().parents[2]

ROLLOUT_CODE = (
    *("harness/core/records.py", "harness/core/pictures.py"),
    *("harness/models", "harness/engines", "harness/rollout"),
)
"""Code that decides which tokens answer a prompt."""

VERDICT_CODE = ("rewards/verifier",)
"""Code that decides what an answer is worth."""

METRICS_CODE = ("harness/evaluation/metrics.py", "harness/evaluation/results.py")
"""Code that makes numbers of verdicts."""

TRAINING_CODE = (
    *("trainers", "rewards/method.py", "rewards/losses.py", "rewards/components.py"),
    *("rewards/support", "rewards/flow"),
)
"""Code that decides what a rollout does to the weights; a method's own module is a part of its own."""

WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "": ("name", "source", "methods", "evaluation", "engine", "cold_start", "expert"),
    "model": ("path", "revision", "gradient_checkpointing"),
    "train": ("micro_batch_tokens", "checkpoint_every", "checkpoint_minutes", "log_rollouts", "kl_every"),
}
"""Recipe keys, by section, that leave a trained policy as it is, or that enter elsewhere by their content."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Named parts that decide a number, as plain values.

    parts: nested mapping; compared as a whole by `key`, one by one by `differences`.
    """

    parts: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Content hash of all parts, 32 hexadecimal characters; folders carry the first 8."""
        return digest(self.parts, length=32)

    def without(self, *names: str) -> Identity:
        """The identity of what is left without some top-level parts, such as the seed."""
        return Identity({name: value for name, value in self.parts.items() if name not in names})

    def differences(self, other: Mapping[str, Any]) -> tuple[str, ...]:
        """Dotted names of the parts that another identity (as stored) has otherwise, lacks or has beside."""
        mine, theirs = dict(_flat(_plain(self.parts))), dict(_flat(_plain(other)))
        return tuple(sorted(k for k in {*mine, *theirs} if mine.get(k, _Absent) != theirs.get(k, _Absent)))


class _Absent:
    """Stands for a part that one side lacks."""


def _plain(value: Any) -> Any:
    """A value as it comes back from JSON."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, value


# --- a run ------------------------------------------------------------------------------------------------------------


def of_run(
    *,
    recipe: Recipe,
    engine: str,
    start: str,
    data: Mapping[str, Any],
    method: Mapping[str, Any],
    seed: int,
) -> Identity:
    """The identity of a trained policy.

    engine: the kind that draws the rollouts. start: content digest of the start policy. data: `of_data` by role (train,
    validation). method: `of_method`.
    """
    return Identity(
        {
            "package": package_version(),
            "code": source_digest((*TRAINING_CODE, *ROLLOUT_CODE, *VERDICT_CODE)),
            "start": start,
            "recipe": recipe_values(recipe),
            "engine": engine,
            "data": dict(data),
            "method": dict(method),
            "seed": seed,
        }
    )


def of_untrained(start: str, rendering: Mapping[str, Any]) -> Identity:
    """The identity of a policy that is evaluated as it is: its content and what surrounds the questions."""
    return Identity({"start": start, "rendering": dict(rendering)})


def of_data(name: str, version: int, examples: Sequence[Example]) -> dict[str, Any]:
    """One data set as it was read: rows, pictures and worked solutions by content."""
    rows = [[*_asked(e), *_graded_by(e), e.solution] for e in examples]
    return {"task": name, "version": version, "rows": len(rows), "content": digest(rows, length=16)}


def of_method(
    key: str, options: Mapping[str, Any], kind: type, expert: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A method: its options, the source of every module that its class comes from, and the expert data it is fitted to."""
    return {"key": key, "options": dict(options), "source": class_source(kind), "expert": expert}


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, without those that change no weight (WITHOUT_EFFECT)."""
    values = recipe.model_dump(mode="json")
    for section, names in WITHOUT_EFFECT.items():
        target = values[section] if section else values
        for name in names:
            target.pop(name, None)
    return values


# --- an evaluation ----------------------------------------------------------------------------------------------------


def of_generation(
    examples: Sequence[Example],
    *,
    prompt: str,
    max_prompt_tokens: int,
    sampling: Mapping[str, Any],
    engine: Mapping[str, Any],
    policy: str,
) -> dict[str, Any]:
    """What makes the responses: questions and pictures, their rendering (`prompt`: the renderer's hash), decoding, the
    engine as it describes itself, the weights (`policy`: content digest) and the code between."""
    return {
        "content": asked_digest(examples),
        "prompt": prompt,
        "max_prompt_tokens": max_prompt_tokens,
        "sampling": dict(sampling),
        "engine": dict(engine),
        "policy": policy,
        "code": source_digest(ROLLOUT_CODE),
    }


def of_grading(examples: Sequence[Example], aggregate: Callable[..., Any] | None = None) -> dict[str, Any]:
    """What makes verdicts and metrics of given responses: golds, answer types, categories, the benchmarks' own rules, our
    reader and our metrics. aggregate: the authors' own scores, which count by the module that they are in."""
    rules = sorted({e.rule for e in examples if e.rule})
    own = aggregate.__module__ if aggregate is not None else ""
    return {
        "content": digest([_graded_by(e) for e in examples], length=16),
        "rules": {rule: _rule_source(rule) for rule in rules},
        "verifier": source_digest(VERDICT_CODE),
        "metrics": source_digest(METRICS_CODE),
        "aggregate": _rule_source(own) if own and own != "tasks.base" else None,
    }


def asked_digest(examples: Sequence[Example]) -> str:
    """Hash of what is asked: ids, turns and pictures, in order."""
    return digest([_asked(e) for e in examples], length=16)


def _asked(example: Example) -> list[Any]:
    turns = [(m.role, [asdict(p) for p in m.parts]) for m in example.messages]
    return [example.id, turns, [picture_digest(i) for i in example.images]]


def _graded_by(example: Example) -> list[Any]:
    return [example.id, asdict(example.answer), example.rule, example.note, dict(example.metadata)]


def picture_digest(image: LazyImage) -> str:
    """Hash of a picture's file as it lies there, undecoded, or of its pixels where it has no file; "missing" without it.

    A picture that cannot be opened is told when it is rendered, with the item's name; here it is only not the same.
    """
    try:
        picture = image.load()
        stream = getattr(picture, "fp", None)
        if stream is not None:
            stream.seek(0)
            content = stream.read()
            picture.close()
        else:
            content = repr((picture.mode, picture.size)).encode() + picture.tobytes()
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        return f"unreadable: {type(error).__name__}"
    return hashlib.sha256(content).hexdigest()[:16]


# --- code -------------------------------------------------------------------------------------------------------------


def package_version() -> str:
    """The installed version of this package."""
    try:
        return importlib.metadata.version("rlfr-eval")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@functools.lru_cache(maxsize=16)
def source_digest(places: tuple[str, ...]) -> str:
    """Hash of the code below some files and folders of this package; comments and blank lines do not count."""
    files: set[Path] = set()
    for place in places:
        path = ROOT / place
        files |= {path} if path.is_file() else set(path.rglob("*.py"))
    return _hash_files(sorted(files))


def _hash_files(files: Iterable[Path]) -> str:
    lines = [[file.name, code_lines(file.read_text("utf-8"))] for file in files]
    return digest(lines, length=16)


def code_lines(text: str) -> list[str]:
    """The lines of a module without comments, blank lines and trailing blanks; all of them where it cannot be read."""
    lines = text.splitlines()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return text.splitlines()
    return [line.rstrip() for line in lines if line.strip()]


def class_source(kind: type) -> str:
    """Hash of the modules that a class and its bases come from, and of their neighbours that these import.

    A neighbour is a module that lies beside the importing one, or below it: what a plug-in's author may edit with it.
    """
    modules = {base.__module__ for base in kind.__mro__} - set(sys.stdlib_module_names)
    files: set[Path] = set()
    for name in modules:
        if name.partition(".")[0] not in sys.stdlib_module_names:
            _collect(_file_of(name), files)
    return _hash_files(sorted(files, key=lambda file: file.name))


def _collect(file: Path | None, found: set[Path]) -> None:
    if file is None or file in found:
        return
    found.add(file)
    for name in _imported(file):
        other = _file_of(name)
        if other is not None and other.is_relative_to(file.parent):
            _collect(other, found)


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(module: str) -> Path | None:
    """The file of a module that is loaded already."""
    place = getattr(sys.modules.get(module), "__file__", None)
    return Path(place).resolve() if place and place.endswith(".py") else None


def _rule_source(rule: str) -> str:
    """Hash of the module of `module:function`, or of a module; of one of ours, with what the task files share."""
    module = rule.partition(":")[0]
    file = _file_of(module)
    if file is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        file = Path(spec.origin).resolve() if spec and spec.origin else None
    if file is None:
        return "missing"
    files = {file}
    if file.is_relative_to(ROOT / "tasks"):
        files |= set((ROOT / "tasks" / "support").glob("*.py"))
    else:
        _collect(file, files := set())
    return _hash_files(sorted(files, key=lambda path: path.name))
