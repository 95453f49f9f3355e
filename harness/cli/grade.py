"""The `grade` verb: one gold and one answer in, what every stage of the verifier makes of them out."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.core.errors import ConfigError, near
from harness.core.records import Answer, AnswerType

Gold = Annotated[str, typer.Option("--gold", help="The right answer.", metavar="TEXT")]
Given = Annotated[
    str, typer.Option("--answer", help="A response, or an answer alone (then it is boxed).", metavar="TEXT")
]
Type = Annotated[
    str | None,
    typer.Option("--type", help="choice, integer, float, expression, list or text; told from the gold if not given."),
]
Choices = Annotated[str, typer.Option("--choices", help="The options of a choice, parted by |.", metavar="A|B|C")]


def grade_(gold: Gold, answer: Given, kind: Type = None, choices: Choices = "") -> int:
    """Grade one answer and show how it is read: for whoever debugs a reward.

    \b
    rlfr-eval grade --gold 5 --answer '5 \\text{ million}'
    rlfr-eval grade --gold '(-1, 2]' --answer 'So $-1 < x \\le 2$ is the \\boxed{-1 < x \\le 2}.'
    rlfr-eval grade --gold B --type choice --choices '3 cm|5 cm' --answer 'The answer is (B).'

    Exit code 0: correct; 1: incorrect or ungraded; 2: it could not be tried.
    """
    from rewards.verifier.answers import marks
    from rewards.verifier.grade import grade
    from rewards.verifier.jobs import Job

    typed = _typed(gold, kind, choices)
    found = marks.find(answer, typed.type, len(typed.choices))
    response = answer
    if found.chosen is None and not found.found:
        response = f"\\boxed{{{answer}}}"
        found = marks.find(response, typed.type, len(typed.choices))
    rows = [("gold", f"{gold}  ({typed.type.value})")]
    rows += [(f"mark {n}", f"{m.kind} at {m.start}: {m.content}") for n, m in enumerate(found.found, 1)]
    rows += [("chosen", f"{found.answer}  ({found.why})")]
    rows += _read("gold", gold) + (_read("answer", found.answer) if found.answer else [])
    verdict = grade(Job(answer=typed, response=response))["strict"]
    rows += [("verdict", f"{verdict.status.value}  (reason: {verdict.reason})")]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0 if verdict.correct else 1


def _typed(gold: str, kind: str | None, choices: str) -> Answer:
    from tasks.support.golds import typed

    options = tuple(choices.split("|")) if choices else ()
    if kind is None:
        return typed(gold)
    known = [t.value for t in AnswerType]
    if kind not in known:
        raise ConfigError(f"--type {kind} is no answer type", near(kind, known))
    golds = tuple(g.strip() for g in gold.split(",")) if kind == "list" else (gold,)
    return Answer(type=AnswerType(kind), golds=golds, choices=options)


def _read(side: str, text: str) -> list[tuple[str, str]]:
    """How one side is read: tidied, as a number with its unit, as a structure, as a set of reals."""
    from harness.core.errors import attempt
    from rewards.verifier.answers import exact, normal, reals, structure

    tidied = normal.clean(text)
    rows = [(f"{side} tidied", tidied)]
    _, tail = normal.split_tail(tidied)
    number = exact.read(tidied)
    if number is not None:
        rows.append(
            (
                f"{side} number",
                f"{number.value}{' ' + number.unit if number.unit else ''}{' %' if number.percent else ''}",
            )
        )
    elif tail is None:
        rows.append((f"{side} number", "none: the words behind it are no unit"))
    node, error = attempt(structure.parse, tidied)
    if error is not None:
        rows.append((f"{side} structure", f"not read: {type(error).__name__}"))
        return rows
    inside = f" of {len(node.items)}: {', '.join(i.text for i in node.items)}" if node.items else ""
    rows.append((f"{side} structure", f"{node.kind}{inside}"))
    union, _ = attempt(reals.read, tidied) if reals.is_set_like(tidied) else (None, None)
    if union:
        ends = [f"{'[' if i.low_in else '('}{i.low}, {i.high}{']' if i.high_in else ')'}" for i in union[0]]
        rows.append((f"{side} reals", " ∪ ".join(ends)))
    return rows


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("grade", short_help="Grade one answer and show how it is read.")(grade_)
