"""Any text task of lm-eval that generates, as a Task: `--task lm_eval/NAME`.

lm-eval gives the documents, the prompt (its whole text, few-shot examples included, as one user turn), the gold, its filters
and its metric. Verdicts are ours, on the gold typed like those of our mathematics sets; lm-eval's own numbers stand beside
them in `aggregate`, computed by lm-eval's code from the same responses. `--data-dir` may hold yaml files of one's own. lm-eval
is imported when the task is loaded.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harness.core.errors import ConfigError, DataError, UnknownNameError, attempt, near
from harness.core.records import Answer, AnswerType, Example, Sample
from tasks.base import Task, user
from tasks.support.golds import choice, typed

PREFIX = "lm_eval/"
FEWSHOT_SEED = 1234
"""lm-eval's own default, so that few-shot examples are those of its command."""


class LmEvalTask(Task):
    """A task of lm-eval. Items are numbered as lm-eval numbers its documents."""

    key = "lm_eval"
    licence = "of lm-eval's source"

    def __init__(self, name: str, data_dir: Path | None = None) -> None:
        if not name.removeprefix(PREFIX):
            raise UnknownNameError("--task lm_eval/ names no task", "write --task lm_eval/gsm8k")
        super().__init__("test", data_dir)
        self.source = name.removeprefix(PREFIX)
        self._own: Any = None

    @property
    def name(self) -> str:
        return PREFIX + self.source

    @property
    def own(self) -> Any:
        """lm-eval's task object. Raises UnknownNameError, ConfigError (no text task that generates) or DataError."""
        if self._own is None:
            self._own = self._checked(_load(self.source, self.data_dir))
            self.revision = _versions(self._own)
        return self._own

    def _checked(self, found: Any) -> Any:
        if found.OUTPUT_TYPE != "generate_until":
            raise ConfigError(f"{self.name} is scored by {found.OUTPUT_TYPE}", "only generate_until tasks run here")
        if getattr(found, "MULTIMODAL", False):
            raise ConfigError(f"{self.name} has pictures or sound", "only text tasks of lm-eval run here")
        if getattr(found, "UNSAFE_CODE", False) or getattr(found.config, "unsafe_code", False):
            raise ConfigError(f"{self.name} executes what the policy writes", "run it with lm-eval, in a sandbox")
        return found

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """lm-eval's documents with the text of their prompts."""
        own = self.own
        shots = own.config.num_fewshot or 0
        own.set_fewshot_seed(seed=FEWSHOT_SEED)
        for doc in own.eval_docs:
            prompt, error = attempt(own.fewshot_context, doc, shots, gen_prefix=own.doc_to_prefix(doc))
            if error is not None or not isinstance(prompt, str):
                self._fails("prompt", error)
            target, error = attempt(_target, own, doc)
            if error is not None:
                self._fails("gold", error)
            yield {"prompt": prompt, "golds": target, "doc": doc}

    def item_id(self, row: Mapping[str, Any], number: int) -> str:
        return str(number)

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        golds = [g for g in row["golds"] if g.strip()]
        answer = _answer(golds) if golds else Answer(type=AnswerType.TEXT, golds=())
        return Example(id=item, task=self.name, messages=user(row["prompt"]), answer=answer)

    def _fails(self, what: str, error: Exception | None) -> NoReturn:
        raise DataError(f"{self.name}: lm-eval cannot make the {what} ({_short(error)})", "check the task with lm_eval")

    # -------------------------------------------------------------------------------------- lm-eval's own metric

    def aggregate(self, samples: Sequence[Sample]) -> dict[str, float]:
        """lm-eval's own scores as `metric,filter`. Empty, with a warning, where it cannot compute them."""
        values: dict[str, list[Any]] = defaultdict(list)
        for found in self.scores(samples):
            for name, value in found[1].items():
                values[name].append(value)
        known, means = self.own.aggregation(), {}
        for name, items in values.items():
            total, error = attempt(known.get(name.partition(",")[0], _mean), items)
            if error is None and isinstance(total, int | float):
                means[name] = float(total)
            else:
                warnings.warn(f"{self.name}: lm-eval cannot total {name} ({_short(error)})", stacklevel=2)
        return means

    def scores(self, samples: Sequence[Sample]) -> Iterator[tuple[str, dict[str, Any]]]:
        """(item id, value by `metric,filter`) by lm-eval's filters and metric.

        A task that asks for one response scores every sample by itself, so that its totals are averages over them; one
        that asks for k gets the first k samples of an item together.
        """
        own, items = self.own, defaultdict(list)
        for sample in sorted(samples, key=lambda s: s.sample_index):
            items[sample.id].append(sample.response)
        repeats = own.config.repeats or 1
        docs = own.eval_docs
        for item, responses in sorted(items.items(), key=lambda pair: int(pair[0])):
            if len(responses) < repeats:
                wanted = f"{self.name}: lm-eval's metric needs {repeats} samples an item; use --n {repeats}"
                warnings.warn(wanted, stacklevel=2)
                return
            groups = [responses[:repeats]] if repeats > 1 else [[r] for r in responses]
            for group in groups:
                found, error = attempt(self._score, docs[int(item)], group)
                if error is not None:
                    warnings.warn(f"{self.name} item {item}: lm-eval's metric fails ({_short(error)})", stacklevel=2)
                    continue
                yield item, found

    def _score(self, doc: Any, responses: Sequence[str]) -> dict[str, Any]:
        from lm_eval.api.instance import Instance

        own = self.own
        stops = (own.config.generation_kwargs or {}).get("until") or []
        cut = [_until(r, [stops] if isinstance(stops, str) else stops) for r in responses]
        instance = Instance("generate_until", doc, ("", {}), 0, (self.source, 0, len(cut)))
        instance.resps = cut
        found = {}
        for ensemble in own._filters:
            ensemble.apply([instance])
            for metric, value in own.process_results(doc, [instance.filtered_resps[ensemble.name]]).items():
                found[f"{metric},{ensemble.name}"] = value
        return found


def _load(name: str, folder: Path | None) -> Any:
    """lm-eval's task `name`: of the yaml files in `folder`, else of lm-eval's own."""
    from lm_eval.tasks import TaskManager

    own = TaskManager(include_path=str(folder), include_defaults=False) if folder else None
    manager = own if own is not None and name in own.all_subtasks else TaskManager()
    if name not in manager.all_subtasks:
        if name in manager.all_tasks:
            raise UnknownNameError(f"{PREFIX}{name} is a group of lm-eval", "name one of its tasks")
        raise UnknownNameError(f"lm-eval has no task '{name}'", near(name, manager.all_subtasks)[:200])
    loaded, error = attempt(manager.load, name)
    if error is not None:
        raise DataError(
            f"{PREFIX}{name}: lm-eval cannot load it ({_short(error)})", "check the network, or its yaml and data files"
        ) from error
    return loaded["tasks"][name]


def _versions(own: Any) -> str:
    import importlib.metadata

    return f"lm-eval {importlib.metadata.version('lm-eval')}, task version {own.VERSION}"


def _target(own: Any, doc: Any) -> list[str]:
    """The golds of a document as text: without what the task's exact_match ignores, and out of a last box."""
    target = own.doc_to_target(doc)
    if own.config.doc_to_choice is not None and isinstance(target, int):
        target = own.doc_to_choice(doc)[target]
    ignored = (own._metric_fn_kwargs.get("exact_match") or {}).get("regexes_to_ignore") or []
    targets = target if isinstance(target, list | tuple) else [target]
    return [_boxed(_without(str(t), ignored).strip()) for t in targets]


def _without(text: str, patterns: Sequence[str]) -> str:
    return functools.reduce(lambda rest, pattern: re.sub(pattern, "", rest), patterns, text)


def _boxed(text: str) -> str:
    from rewards.verifier.answers.marks import final_answer

    found = final_answer(text, AnswerType.EXPRESSION) if "\\boxed" in text else None
    return found or text


def _answer(golds: Sequence[str]) -> Answer:
    """Lone capital letters are choices, all else is typed as our mathematics sets are."""
    letters = [re.fullmatch(r"\(?([A-J])\)?", g) for g in golds]
    if len(golds) == 1 and letters[0]:
        return choice(letters[0][1])
    return typed(*golds)


def _until(text: str, stops: Sequence[str]) -> str:
    """What lm-eval keeps of a response: the text before the first stop."""
    for stop in stops:
        if stop:
            text = text.split(stop)[0]
    return text


def _mean(items: Sequence[float]) -> float:
    return sum(items) / len(items)


def _short(error: Exception | None) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:200]}" if error is not None else "no text"
