"""lm-eval both ways: the same responses get the same verdicts from its command and from ours, item by item."""

from __future__ import annotations

import functools
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import app
from harness.core.errors import ConfigError, DataError, UnknownNameError
from harness.core.records import AnswerType
from tasks.adapters import lm_eval_export
from tasks.resolve import resolve

lm_eval = pytest.importorskip("lm_eval")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "lm-eval.md"
PROBLEMS: Sequence[tuple[str, str]] = (
    ("What is $1+1$?", "2"),
    ("What is half of one?", "\\frac{1}{2}"),
    ("Solve $x^2=4$ for $x>0$; write 10,080 times that.", "20,\\!160"),
    ("Who is she?", "\\text{Evelyn}"),
    ("Expand $(x+1)^2$.", "x^2+2x+1"),
    ("Which interval?", "[1,2)"),
)
SAID: Sequence[str] = (
    "So \\boxed{2}.",
    "That is \\boxed{0.5}",
    "20160",
    "\\boxed{\\text{evelyn}}",
    "\\boxed{(x+1)(x+1)}",
    "\\boxed{9^{9^{9^{9^{9}}}}}",
)
WRAPPED = """\
task: own_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}, train: {rows}}}}}
test_split: test
fewshot_split: train
num_fewshot: 2
output_type: generate_until
description: "Sums.\\n\\n"
doc_to_text: "Q: {{{{problem}}}}\\nA:"
doc_to_target: "worked #### {{{{answer}}}}"
generation_kwargs: {{until: ["Q:"], do_sample: false, max_gen_toks: 24}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true, regexes_to_ignore: [",", "(?s).*#### "]}}]
filter_list:
  - {{name: last, filter: [{{function: regex, group_select: -1, regex_pattern: '(-?[0-9]+)'}}, {{function: take_first}}]}}
  - {{name: raw, filter: [{{function: take_first}}]}}
metadata: {{version: 3.0}}
"""


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    level = logging.getLogger("lm_eval").level
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    yield
    logging.getLogger("lm_eval").setLevel(level)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with math500 in its own layout and a task of lm-eval over local rows."""
    folder = tmp_path_factory.mktemp("data")
    rows = [{"problem": q, "answer": a, "level": 1, "unique_id": f"m{i}"} for i, (q, a) in enumerate(PROBLEMS)]
    (folder / "math500.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    sums = [{"problem": f"{i}+{i}?", "answer": f"{2 * i:,}"} for i in range(7, 2000, 400)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums))
    (folder / "own_sums.yaml").write_text(WRAPPED.format(rows=folder / "sums.jsonl"))
    return folder


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    words = ["export-lm-eval", folder, "--task", "math500,arithmetic", "--data-dir", data, "--max-new-tokens", 24]
    assert app.main([str(w) for w in words]) == 0
    return folder


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random policy with opinions, which never picks the rows that only lm-eval's model lets it pick."""
    import torch

    from harness.models import loading, tiny
    from harness.models.weights import named_weights

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("policy")
    loaded = loading.load(tiny.build("tiny-lm", folder / "start"))
    with torch.no_grad():
        for weight in named_weights(loaded.model).values():
            if weight.ndim > 1:
                weight.mul_(3.0)
        loaded.model.get_output_embeddings().weight[256:] = 0.0
    loaded.model.save_pretrained(folder / "sharp")
    loaded.tokenizer.save_pretrained(folder / "sharp")
    return folder / "sharp"


def said_by(responses: Mapping[str, str]) -> Any:
    """A model of lm-eval that knows its answers by their questions, and stops at stop strings as all of them do."""
    from lm_eval.api.model import LM

    class Prepared(LM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            said = [next(r for q, r in responses.items() if request.args[0].endswith(q)) for request in requests]
            stops = [request.args[1]["until"] for request in requests]
            return [functools.reduce(lambda t, s: t.split(s)[0], ends, r) for r, ends in zip(said, stops, strict=True)]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    return Prepared()


def theirs(model: Any, task: str, folder: Path, **options: Any) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = simple_evaluate(model, tasks=[task], task_manager=manager, bootstrap_iters=0, **options)
    assert found is not None
    return found


def ours(out: Path) -> list[dict[str, Any]]:
    (log,) = out.rglob("samples.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def by_id(rows: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
    return {str(r["doc"]["id"] if "doc" in r else r["id"]): value(r) for r in rows}


def right(protocol: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda row: float(row["verdicts"][protocol]["status"] == "correct")


def test_prepared_answers_get_our_verdicts_from_lm_eval(data: Path, exported: Path, tmp_path: Path) -> None:
    answers = {q: said for (q, _), said in zip(PROBLEMS, SAID, strict=True)}
    found = theirs(said_by(answers), "rlfr_math500_test", exported)
    lines = [json.dumps({"id": f"m{i}", "response": said}) + "\n" for i, said in enumerate(SAID)]
    (tmp_path / "said.jsonl").write_text("".join(lines))
    words = ["score", "--task", "math500", "--data-dir", data, "--responses", tmp_path / "said.jsonl"]
    assert app.main([str(w) for w in [*words, "--out", tmp_path / "scored"]]) == 0
    rows, samples = ours(tmp_path / "scored"), found["samples"]["rlfr_math500_test"]
    for protocol in ("official", "strict"):
        assert by_id(samples, lambda r, p=protocol: r[p]) == by_id(rows, right(protocol))  # type: ignore[misc]
    assert by_id(rows, right("strict")) == {"m0": 1, "m1": 1, "m2": 0, "m3": 1, "m4": 1, "m5": 0}
    assert by_id(samples, lambda r: r["target"])["m5"] == "[1,2)", "a gold stays a string"
    results = found["results"]["rlfr_math500_test"]
    assert results["strict,none"] == pytest.approx(4 / 6)
    ungraded = [r["verdicts"]["official"]["status"] == "ungraded" for r in rows]
    assert results["ungraded,none"] == pytest.approx(sum(ungraded) / 6)


def _run(line: str) -> None:
    """One line of the page, by the program that it names."""
    program, *words = shlex.split(line)
    if program == "rlfr-eval":
        assert app.main(words) == 0, line
        return
    assert program == "lm_eval"
    from lm_eval._cli import HarnessCLI

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [program, *words])
        command = HarnessCLI()
        command.execute(command.parse_args())


def test_the_page_does_what_it_says_and_both_commands_agree(
    policy: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny policy by lm-eval's own command and by ours: the same responses, the same verdicts, item by item."""
    from lm_eval.tasks import TaskManager

    whole = TaskManager.__init__
    # the index of lm-eval's own 13,000 tasks takes seconds and none of them is asked for
    monkeypatch.setattr(TaskManager, "__init__", functools.partialmethod(whole, include_defaults=False))
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "yaml", "jsonl", "sh"]
    monkeypatch.chdir(tmp_path)
    Path("POLICY").symlink_to(policy)
    Path("DATA").mkdir()
    for name, (_, text) in zip(("sums.yaml", "sums.jsonl"), blocks[1:3], strict=True):
        (Path("DATA") / name).write_text(text, "utf-8")
    (Path("DATA") / "math500.jsonl").symlink_to(data / "math500.jsonl")
    for _, text in (blocks[0], blocks[3]):
        for line in text.splitlines():
            _run(line)
    (log,) = Path("theirs").rglob("samples_rlfr_math500_test_*.jsonl")
    samples, rows = [json.loads(line) for line in log.read_text().splitlines()], ours(Path("ours"))
    said = by_id(rows, lambda r: r["response"])
    assert by_id(samples, lambda r: r["filtered_resps"][0][0]) == said and len(set(said.values())) > 1
    for protocol in ("official", "strict"):
        assert by_id(samples, lambda r, p=protocol: r[p]) == by_id(rows, right(protocol))  # type: ignore[misc]
    (results,) = Path("wrapped").rglob("results.json")
    found = json.loads(results.read_text())
    assert found["task"] == "lm_eval/sums" and set(found["aggregate"]) == {"exact_match,last"} and found["n"] == 2


def test_several_samples_are_averaged(data: Path, tmp_path: Path) -> None:
    files = lm_eval_export.export(tmp_path, ["math500"], {"math500": data}, n=2)
    assert "repeats: 2" in files[1].read_text() and "temperature: 0.6" in files[1].read_text()
    docs = lm_eval_export.documents("math500-test", str(data))["test"]
    found = lm_eval_export.process_results(docs[0], [["\\boxed{2}", "\\boxed{3}"]])
    assert found == {"official": 0.5, "strict": 0.5, "ungraded": 0.0}


# ------------------------------------------------------------------------------------------ a task of lm-eval, here


def test_a_wrapped_task_keeps_lm_evals_documents_prompt_filters_and_metric(data: Path, tmp_path: Path) -> None:
    """The same responses by its own evaluation and by our `score`: equal prompts, equal own scores item by item."""
    task = resolve("lm_eval/own_sums", data)
    examples = task.load()
    assert [e.answer.golds for e in examples] == [(str(2 * i),) for i in range(7, 2000, 400)]
    assert {e.answer.type for e in examples} == {AnswerType.INTEGER} and [e.id for e in examples] == list("01234")
    assert task.load() == examples, "few-shot examples do not depend on how often it was loaded"
    said = ["so 14", "the \\boxed{814}, not 3 Q: 814", "1,614", "\\boxed{2414}", ""]
    answers = {e.question.rpartition("Q: ")[2]: s for e, s in zip(examples, said, strict=True)}
    found = theirs(said_by(answers), "own_sums", data)
    samples = found["samples"]["own_sums"]
    assert {e.id: e.question for e in examples} == {str(r["doc_id"]): r["arguments"][0][0] for r in samples}
    lines = [json.dumps({"id": e.id, "response": s}) + "\n" for e, s in zip(examples, said, strict=True)]
    (tmp_path / "said.jsonl").write_text("".join(lines))
    words = ["score", "--task", "lm_eval/own_sums", "--data-dir", data, "--responses", tmp_path / "said.jsonl"]
    assert app.main([str(w) for w in [*words, "--out", tmp_path / "scored"]]) == 0
    results = json.loads((tmp_path / "scored" / "results.json").read_text())
    own = {k: v for k, v in found["results"]["own_sums"].items() if k.startswith("exact_match,")}
    assert results["aggregate"] == pytest.approx(own) and own["exact_match,last"] == pytest.approx(2 / 5)
    assert results["metrics"]["accuracy"]["value"] == pytest.approx(2 / 5), "ours asks for a marked answer"
    assert results["revision"].startswith("lm-eval 0.") and results["revision"].endswith("task version 3.0")
    from harness.rollout.samples import read_sample

    scores = task.scores(list(map(read_sample, ours(tmp_path / "scored"))))  # type: ignore[attr-defined]
    ours_last = {item: values["exact_match,last"] for item, values in scores}
    assert ours_last == {str(r["doc_id"]): r["exact_match"] for r in samples if r["filter"] == "last"}


def test_repeats_are_scored_together_or_not_at_all(data: Path, tmp_path: Path) -> None:
    text = (data / "own_sums.yaml").read_text().replace("own_sums", "votes").replace(
        "{function: take_first}]}\n  - ", "{function: majority_vote}, {function: take_first}]}\n  - ")  # fmt: skip
    (tmp_path / "votes.yaml").write_text(text + "repeats: 3\n")
    task = resolve("lm_eval/votes", tmp_path)
    task.load()
    three: list[Any] = [SimpleNamespace(id="0", sample_index=i, response=r) for i, r in enumerate(("14", "3", "14"))]
    assert task.aggregate(three)["exact_match,last"] == 1.0
    with pytest.warns(UserWarning, match="needs 3 samples an item; use --n 3"):
        assert task.aggregate(three[:2]) == {}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("generate_until", "multiple_choice"), ConfigError, "is scored by multiple_choice"),
        (("metadata:", "unsafe_code: true\nmetadata:"), ConfigError, "executes what the policy writes"),
        (("sums.jsonl", "nothing.jsonl"), DataError, "lm-eval cannot load it"),
        (("{{problem}}", "{{ problem"), DataError, "lm-eval cannot load it"),
    ],
)
def test_what_cannot_be_wrapped_says_so(
    change: tuple[str, str], error: type[Exception], message: str, data: Path, tmp_path: Path
) -> None:
    text = (data / "own_sums.yaml").read_text()
    assert change[0] in text
    text = text.replace(*change)
    if change[1] == "multiple_choice":
        text = text.replace("max_gen_toks: 24}", "max_gen_toks: 24}\ndoc_to_choice: [A, B]")
    (tmp_path / "own_sums.yaml").write_text(text)
    with pytest.raises(error, match=message):
        resolve("lm_eval/own_sums", tmp_path).load()


def test_unknown_names_and_groups(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="names no task"):
        resolve("lm_eval/")
    from lm_eval import tasks

    whole = tasks.TaskManager
    monkeypatch.setattr(tasks, "TaskManager", lambda **_: whole(include_path=str(data), include_defaults=False))
    with pytest.raises(UnknownNameError, match="no task 'own_sum': did you mean 'own_sums'"):
        resolve("lm_eval/own_sum").load()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "mathvista"], "mathvista-testmini has pictures: only language tasks"),
        (["--task", "lm_eval/gsm8k"], "cannot be exported"),
        (["--task", "math50"], "unknown task 'math50'"),
    ],
)
def test_what_cannot_be_exported_says_so(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["export-lm-eval", str(tmp_path / "x"), *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_without_names_every_language_benchmark_is_written_and_no_other_file_is_replaced(tmp_path: Path) -> None:
    names = lm_eval_export.exportable()
    assert set(names) == {"aime24", "aime25", "amc23", "arithmetic", "gsm8k", "math500", "minerva", "olympiadbench"}
    files = lm_eval_export.export(tmp_path, names, {})
    assert sorted(tmp_path.iterdir()) == sorted(files) and len(files) == 1 + len(names)
    assert lm_eval_export.export(tmp_path, ["aime24"], {})[0] == files[0], "its own file is written again"
    files[0].write_text("mine = 1\n")
    with pytest.raises(ConfigError, match="is not what this command writes"):
        lm_eval_export.export(tmp_path, ["aime24"], {})
    assert files[0].read_text() == "mine = 1\n"
