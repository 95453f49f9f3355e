"""Our language tasks as tasks of lm-eval: a folder of yaml files out; documents, prompt and our verifier at lm-eval's call.

`export` writes one yaml per task and one python file, which names the functions below. When lm-eval runs, `documents` loads
the task through its own reader, `question` is the prompt, and `process_results` grades what the model said with the verifier,
by both protocols. lm-eval has no third state: an ungraded answer counts as not correct, and its share is a metric of its own.
"""

from __future__ import annotations

import atexit
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import ConfigError, DataError
from harness.core.records import Answer, AnswerType, Status
from tasks.base import Task, task
from tasks.resolve import resolve

if TYPE_CHECKING:
    from rewards.verifier.pool import Verifier

MODULE = "rlfr_eval_tasks"
METRICS = ("official", "strict", "ungraded")
_CODE = '''"""What the yaml files beside this one call: the tasks and the verifier of rlfr-eval, which must be installed."""

from tasks.adapters.lm_eval_export import documents, gold, process_results, question

__all__ = ["documents", "gold", "process_results", "question"]
'''


def exportable() -> list[str]:
    """Keys of the language tasks that are evaluated: those whose first split is not for training."""
    facts = {entry.key: entry.facts for entry in task.entries()}
    return sorted(
        key
        for key, known in facts.items()
        if known.get("modality", Task.modality) == "language" and known.get("splits", Task.splits)[0] != "train"
    )


def export(
    folder: Path, names: Sequence[str], data_dirs: Mapping[str, Path | None], n: int = 1, max_new_tokens: int = 3000
) -> list[Path]:
    """Write the tasks `names` below `folder` and return the files.

    data_dirs: folder of each name's data, None for the hub. n: samples per item; above 1 the yaml samples at temperature
    0.6 and top_p 0.95 and its metrics are averages over the samples. Raises UnknownNameError and ConfigError (a task
    with pictures, a file of another hand in the way).
    """
    found = [_language(name, data_dirs.get(name)) for name in names]
    code = folder / f"{MODULE}.py"
    if code.is_file() and code.read_text("utf-8") != _CODE:
        raise ConfigError(f"{code} is not what this command writes", "give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    code.write_text(_CODE, "utf-8")
    files = [code]
    for item in found:
        path = folder / f"{exported_name(item)}.yaml"
        path.write_text(_yaml(item, n, max_new_tokens), "utf-8")
        files.append(path)
    return files


def exported_name(item: Task) -> str:
    """lm-eval's name of a task: `rlfr_math500_test`."""
    return "rlfr_" + item.name.replace("-", "_")


def _language(name: str, data_dir: Path | None) -> Task:
    if ":" in name or "/" in name:
        raise ConfigError(f"task '{name}' cannot be exported", "only tasks of `rlfr-eval list tasks` can")
    item = resolve(name, data_dir.resolve() if data_dir else None)
    if item.modality != "language":
        raise ConfigError(f"{item.name} has pictures", f"only language tasks are exported: {', '.join(exportable())}")
    return item


def _yaml(item: Task, n: int, max_new_tokens: int) -> str:
    """The configuration of one task; `until: []` keeps lm-eval from stopping at a blank line."""
    sampling = "do_sample: true, temperature: 0.6, top_p: 0.95" if n > 1 else "do_sample: false"
    data = {"name": item.name, "data_dir": str(item.data_dir) if item.data_dir else None}
    metrics = "".join(
        f"  - {{metric: {m}, aggregation: mean, higher_is_better: {str(m != 'ungraded').lower()}}}\n" for m in METRICS
    )
    return (
        f"# {item.name}, graded by the verifier of rlfr-eval. Licence of the data: {item.licence}.\n"
        f"task: {exported_name(item)}\n"
        "tag: rlfr_eval\n"
        f"custom_dataset: !function {MODULE}.documents\n"
        f"dataset_kwargs: {json.dumps(data)}\n"
        "test_split: test\n"
        "output_type: generate_until\n"
        f"doc_to_text: !function {MODULE}.question\n"
        f"doc_to_target: !function {MODULE}.gold\n"
        f"process_results: !function {MODULE}.process_results\n"
        "num_fewshot: 0\n"
        f"repeats: {n}\n"
        f"generation_kwargs: {{until: [], {sampling}, max_gen_toks: {max_new_tokens}}}\n"
        f"filter_list: [{{name: none, filter: [{{function: take_first_k, k: {n}}}]}}]\n"
        f"metric_list:\n{metrics}"
        f"metadata: {{version: {item.version}}}\n"
    )


# ------------------------------------------------------------------------------------------ called by lm-eval


def documents(name: str, data_dir: str | None = None, **_: Any) -> dict[str, Any]:
    """`{"test": Dataset}` of a task, with the columns id, question, gold and record (answer and rule as JSON)."""
    import datasets

    examples = resolve(name, Path(data_dir) if data_dir else None).load()
    graded = [e for e in examples if e.answer.golds]
    if not graded:
        raise DataError(f"{name} has no item with a gold", "check its data")
    rows = [
        {
            "id": e.id,
            "question": e.question,
            "gold": " | ".join(e.answer.golds),
            "record": json.dumps({"answer": asdict(e.answer), "rule": e.rule}),
        }
        for e in graded
    ]
    return {"test": datasets.Dataset.from_list(rows)}


def question(doc: Mapping[str, Any]) -> str:
    """The prompt: the bare question. Instructions belong to lm-eval's --system_instruction."""
    return str(doc["question"])


def gold(doc: Mapping[str, Any]) -> str:
    """The gold as one line, for lm-eval's logs."""
    return str(doc["gold"])


def process_results(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, float]:
    """Share of the samples that are right by each protocol, and that the official one left ungraded."""
    from rewards.verifier.jobs import Job

    said = [results[0]] if isinstance(results[0], str) else list(results[0])
    record = json.loads(doc["record"])
    answer = _answer(record["answer"])
    jobs = [Job(answer=answer, response=r, protocols=("official", "strict"), rule=record["rule"]) for r in said]
    verdicts = _verifier().verify(jobs)
    ungraded = sum(v["official"].status is Status.UNGRADED for v in verdicts)
    right = {p: sum(v[p].status is Status.CORRECT for v in verdicts) / len(said) for p in ("official", "strict")}
    return {**right, "ungraded": ungraded / len(said)}


def _answer(fields: Mapping[str, Any]) -> Answer:
    return Answer(
        type=AnswerType(fields["type"]),
        golds=tuple(fields["golds"]),
        choices=tuple(fields["choices"]),
        precision=fields["precision"],
    )


@functools.cache
def _verifier() -> Verifier:
    """One for the process, ended at its exit. lm-eval grades item by item, so a second worker would have nothing to do."""
    from rewards.verifier.pool import Verifier

    made = Verifier(workers=1)
    atexit.register(made.close)
    return made
