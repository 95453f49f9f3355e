"""The command: a frozen flag list, help without torch, and every user error one line with exit code 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from harness.cli import app, listing
from harness.core.errors import ConfigError, DataError, RlfrEvalError
from harness.pipeline import options
from harness.pipeline.options import Budget, RunOptions
from tests.leaderboards import synthetic

ROOT = Path(__file__).resolve().parents[3]
FLAGS = {
    "demo": "--task --out",
    "run": """--task --method --model --policy --label --recipe --seed --budget --n --temperature --max-new-tokens --protocol
    --limit --ids --data-dir --engine --server --plugin --config --set --paper --out""",
    "score": """--task --responses --out --data-dir --protocol --response-field --extracted-field --limit --ids --plugin
    --judge --judge-model --judge-key-variable --label --force""",
    "grade": "--gold --answer --type --choices",
    "list": "what --plugin --out",
    "validate": "--task --data-dir --plugin",
    "fetch": "--task --to",
    "export-lm-eval": "folder --task --data-dir --n --max-new-tokens",
    "regress": "--method --baseline --suite --seeds --json --junit --plugin --update",
    "new-method": "name --dir",
    "new-task": "name --dir",
    "plan": "--recipe --method --gpus --gpu-memory --set --plugin --json",
    "leaderboard": "--out --format --baseline --task --model --samples --data-dir",
    "compare": "a b --limit --json",
    "show": "run --wrong --limit --id --reason --category --diff --json --identity",
    "view": "folder --port --baseline --data-dir",
    "detect": "--detect --out --power --baseline --task --json",
    "reproduce": "row --out --data-dir --plugin --dry-run",
    "replicate": "paper --out --study --data-dir --dry-run",
    "rm": "run --yes --checkpoints",
}


def test_the_flags_are_frozen() -> None:
    """A new flag is a decision: change this list on purpose."""
    group = typer.main.get_command(app.app)
    found = {
        name: [o for p in command.params if p.name != "help" for o in (p.opts[:1] or [p.name])]
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }
    assert found == {verb: flags.split() for verb, flags in FLAGS.items()}
    assert tuple(found) == app.VERBS


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = app.main([str(w) for w in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    "words", [["--help"], [], ["list"], ["list", "methods"], ["run", "--help"], ["--task", "x", "--help"]]
)
def test_help_and_list_need_no_torch_and_are_quick(words: list[str]) -> None:
    code = (
        "import sys; from harness.cli.app import main; code = main(sys.argv[1:])\n"
        "heavy = {'torch', 'transformers', 'datasets', 'PIL', 'sympy', 'math_verify', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy; assert code == 0"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 5, "far above the half second that it takes, far below an import of torch"
    assert "rlfr" in done.stdout


def test_list_tells_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "list")
    assert code == 0
    for word in ("arithmetic", "multimodal", "Apache-2.0", "arXiv 2510.10201", "transformers", "tiny-vl", "16 steps"):
        assert word in out
    assert call(capsys, "list", "recipes")[1].count("\n") < out.count("\n")


def test_eighty_columns_lose_nothing_of_a_method(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = call(capsys, "list", "methods")[1]
    assert max(map(len, out.splitlines())) <= 80
    plain = "".join(out.split())
    for entry in listing.methods_registry().entries():
        for text in (entry.key, entry.summary, entry.facts.get("paper") or "", entry.facts.get("provenance") or ""):
            assert "".join(text.split()) in plain, text


def test_a_plugin_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own_listed_task.py"
    file.write_text(
        'from tasks.base import Task, task\n\n@task.register("own-listed")\nclass Own(Task):\n    """My own items."""\n'
    )
    assert "My own items." in call(capsys, "list", "tasks", "--plugin", file)[1]


ERRORS: list[tuple[list[str], str]] = [
    (["--task", "arithmetik", "--method", "base"], "unknown task 'arithmetik': did you mean 'arithmetic'?"),
    (["--task", "arithmetic-tset", "--method", "base"], "no split 'tset': did you mean 'test'?"),
    (["--task", "arithmetic", "--method", "rflr"], "unknown method 'rflr': did you mean .*'rlfr'"),
    (
        ["--task", "arithmetic", "--method", "base", "--recipe", "tiny-ml"],
        "unknown recipe 'tiny-ml': did you mean .*'tiny-lm'",
    ),
    (
        ["--task", "arithmetic", "--method", "base", "--engine", "transformer"],
        "unknown engine .*did you mean 'transformers'",
    ),
    (["--task", "arithmetic"], "no method to train: give --method"),
    (["--method", "base"], "Missing option '--task'"),
    (["--task", "a,,b", "--method", "base"], "empty name"),
    (["--task", "arithmetic", "--method", "base", "--seed", "one"], "--seed 'one' is not a whole number"),
    (["--task", "arithmetic", "--method", "base", "--budget", "lots"], "--budget 'lots' is not an amount"),
    (["--task", "arithmetic", "--method", "base", "--protocol", "strikt"], "did you mean 'strict'"),
    (["--task", "arithmetic", "--method", "base", "--ids", "/no/file"], "--ids /no/file cannot be read"),
    (["--task", "arithmetic", "--method", "base", "--data-dir", "/no/folder"], "no folder /no/folder"),
    (["--task", "arithmetic", "--method", "base", "--n", "4", "--temperature", "0"], "the same sample n times"),
    (["--task", "arithmetic", "--method", "base", "--methd", "x"], "No such option.*--method"),
    (["--task", "arithmetic", "--policy", "/x"], "give --label"),
    (["--task", "arithmetic", "--method", "base", "--label", "x"], "--label names the policy of --policy"),
    (["--task", "arithmetic", "--method", "base", "--plugin", "/no/p.py"], "no such file"),
    (["skore"], "unknown verb 'skore': did you mean 'score'"),
    (["list", "task"], "cannot list 'task': did you mean 'tasks'"),
    (["show", "/no/run"], "no folder /no/run"),
    (["leaderboard", "--out", "/no/runs"], "no folder /no/runs"),
    (["leaderboard", "--format", "pdf"], "unknown --format 'pdf'"),
    (["score", "--task", "math500", "--responses", "/no/f", "--out", "/tmp/x"], "cannot read /no/f"),
    (["score", "--task", "nosuch", "--responses", "/no/f", "--out", "/tmp/x"], "unknown task 'nosuch'"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[" ".join(e[0])[:60] for e in ERRORS])
def test_user_errors_are_one_line_and_exit_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, *words)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and re.search(message, err), err


def test_a_line_without_id_is_an_error_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text('{"response": "7"}\n')
    code, _, err = call(capsys, "score", "--task", "arithmetic", "--responses", file, "--out", tmp_path / "o")
    assert code == 2 and err.count("\n") == 1 and "line 1 has no id" in err


def test_interruption_exits_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.run_command.run", stop)
    code, _, err = call(capsys, "--task", "arithmetic", "--method", "base")
    assert code == 130 and "run the same line again" in err and err.count("\n") == 1


def test_our_own_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.cli.run_command.run", broken)
    with pytest.raises(ZeroDivisionError):
        app.main(["--task", "arithmetic", "--method", "base"])


def test_every_flag_reaches_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RunOptions] = []
    monkeypatch.setattr("harness.cli.run_command.run", seen.append)
    ids = tmp_path / "ids"
    ids.write_text("# chosen\n3\n\n1\n3\n")
    words = f"""--task a,b --method m,base --model x/y --recipe r --seed 0,2 --budget 2ktokens --n 4 --temperature 0.5
    --max-new-tokens 7 --protocol strict --ids {ids} --data-dir {tmp_path} --data-dir a={ROOT} --engine e --plugin p.py
    --config c.yaml --set x.y=1 --set z=2 --paper --out o"""
    assert app.main(words.split()) == 0
    assert seen == [
        RunOptions(
            tasks=("a", "b"),
            methods=("m", "base"),
            model="x/y",
            recipe="r",
            seeds=(0, 2),
            budget=Budget(sampled_tokens=2000),
            n=4,
            temperature=0.5,
            max_new_tokens=7,
            protocol="strict",
            ids=("3", "1"),
            data_dirs={"": tmp_path, "a": ROOT},
            engine="e",
            plugins=(Path("p.py"),),
            config=Path("c.yaml"),
            sets=("x.y=1", "z=2"),
            paper=True,
            out=Path("o"),
        )
    ]


def test_options_as_recipe_keys() -> None:
    plain = RunOptions(tasks=("a",), methods=("m",))
    assert plain.overrides() == {}
    many = RunOptions(tasks=("a",), methods=("m",), n=8, budget=Budget(steps=5))
    assert many.overrides() == {
        "train.steps": 5,
        "evaluation.n": 8,
        "evaluation.temperature": 0.6,
        "evaluation.top_p": 0.95,
    }
    warm = RunOptions(tasks=("a",), methods=("m",), n=8, temperature=1.0)
    assert warm.overrides()["evaluation.temperature"] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200", Budget(steps=200)),
        ("200steps", Budget(steps=200)),
        ("1.5ksteps", Budget(steps=1500)),
        ("2000tokens", Budget(sampled_tokens=2000)),
        ("2Mtokens", Budget(sampled_tokens=2_000_000)),
    ],
)
def test_budgets(text: str, expected: Budget) -> None:
    assert options.budget(text) == expected


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "tokens", "3 apples", ""])
def test_no_budgets(text: str) -> None:
    with pytest.raises(ConfigError):
        options.budget(text)


def test_ids_as_lines_or_json(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    file.write_text('["a", 2]')
    assert options.read_ids(file) == ("a", "2")
    for text in ("", "# nothing\n", "[1,"):
        file.write_text(text)
        with pytest.raises(DataError):
            options.read_ids(file)


@pytest.mark.parametrize(
    "fields",
    [
        {"tasks": ()},
        {"policy": Path("x"), "label": "l"},
        {"policy": Path("x"), "methods": (), "model": "m", "label": "l"},
        {"limit": 1, "ids": ("1",)},
    ],
)
def test_contradictions_are_errors(fields: dict[str, Any]) -> None:
    with pytest.raises(RlfrEvalError):
        options.check(RunOptions(**{"tasks": ("a",), "methods": ("m",), **fields}))


def test_show_reads_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    target = synthetic.evaluation(tmp_path, synthetic.facts("grpo"), [[True], [False], [None], [False]])
    run = target.parents[1]
    code, out, _ = call(capsys, "show", run, "--wrong", "--limit", 2)
    assert code == 0 and "incorrect: mismatch" in out and "ungraded: worker_lost" in out and "correct: match" not in out
    assert "3 samples that are not correct" in out and "1 more" in out
    for word in ("what is 1?", "I think it is 2", "gold  1", "subject 1"):
        assert word in out
    assert "correct: match" in call(capsys, "show", target)[1]
    (target / "results.json").unlink()
    assert "unfinished" in call(capsys, "show", run)[1]


def test_show_prints_brackets_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = synthetic.evaluation(tmp_path, synthetic.facts("grpo"), [[True]])
    log = target / "samples.jsonl"
    row = json.loads(log.read_text())
    log.write_text(json.dumps({**row, "response": "[bold]x[/bold] [/] \\[y\\]" + "z" * 9000 + "the end"}) + "\n")
    out = call(capsys, "show", target)[1]
    plain = "".join(out.split())
    assert "[bold]x[/bold][/]\\[y\\]" in plain and "theend" in plain and "characters..." in plain
