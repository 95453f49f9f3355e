"""The flags of the command line: their types, names and help texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Task = Annotated[str, typer.Option(help="Tasks to evaluate, e.g. mathvision or math500,arithmetic.", metavar="T[,T]")]
Method = Annotated[str, typer.Option(help="Methods to train; `base` does not train.", metavar="M[,M]")]
Model = Annotated[
    str | None, typer.Option(help="Start policy: tiny-lm, tiny-vl, a hub name or a folder.", metavar="NAME|PATH")
]
Policy = Annotated[Path | None, typer.Option(help="Evaluate this checkpoint as it is; needs --label.", metavar="PATH")]
Label = Annotated[str | None, typer.Option(help="Name of the row of --policy.", metavar="NAME")]
Recipe = Annotated[
    str | None, typer.Option(help="Settings shared by all methods (rlfr-eval list recipes).", metavar="NAME")
]
Seed = Annotated[str, typer.Option(help="Seeds; the table averages over them.", metavar="0,1")]
Budget = Annotated[
    str | None, typer.Option(help="Training budget: steps (200) or sampled tokens (2Mtokens).", metavar="AMOUNT")
]
Samples = Annotated[
    int | None, typer.Option("--n", min=1, help="Samples per item; above 1 at temperature 0.6.", metavar="K")
]
Temperature = Annotated[float | None, typer.Option(min=0.0, help="Of the evaluation; 0 is greedy.", metavar="X")]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, help="Longest evaluated response, in tokens.", metavar="N")]
Protocol = Annotated[
    str | None,
    typer.Option(help="official (the benchmark's answer rule) or strict (a marked answer only).", metavar="NAME"),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Evaluate the first items only.", metavar="N")]
Ids = Annotated[Path | None, typer.Option(help="Evaluate the items named in this file.", metavar="FILE")]
DataDir = Annotated[
    list[str] | None,
    typer.Option(help="Local benchmark files, for all tasks or one; repeatable.", metavar="[T=]DIR"),
]
Engine = Annotated[str | None, typer.Option(help="Generation engine (rlfr-eval list engines).", metavar="NAME")]
Server = Annotated[
    str | None, typer.Option(help="Evaluate against a running vLLM server (docs/gpu.md).", metavar="URL")
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file with own tasks or methods; repeatable.", metavar="FILE"),
]
Config = Annotated[Path | None, typer.Option(help="YAML settings over the recipe's.", metavar="FILE")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, e.g. train.steps=50; repeatable.", metavar="KEY=VALUE"),
]
Paper = Annotated[bool, typer.Option("--paper", help="Also apply the method's paper's recipe; marks the row.")]
Out = Annotated[Path, typer.Option(help="Where run folders are.", metavar="DIR")]
ScoreTask = Annotated[str, typer.Option(help="The task, e.g. mathvision or mathvista-testmini.", metavar="T")]
Responses = Annotated[Path, typer.Option(help='Lines {"id": .., "response": ..}.', metavar="F.jsonl")]
ScoreOut = Annotated[Path, typer.Option(help="Folder for results.json and samples.jsonl.", metavar="DIR")]
ScoreLabel = Annotated[str, typer.Option("--label", help="Name of the row; else the file's.", metavar="NAME")]
Force = Annotated[bool, typer.Option("--force", help="Replace the finished result of other responses in --out.")]
ScoreDataDir = Annotated[Path | None, typer.Option(help="The benchmark's files in its own layout.", metavar="DIR")]
ScoreProtocol = Annotated[str, typer.Option(help="official (the benchmark's answer rule) or strict.", metavar="NAME")]
ResponseField = Annotated[str, typer.Option(help="Column of the response.", metavar="NAME")]
ExtractedField = Annotated[
    str | None,
    typer.Option(help="Column with an extracted answer, used instead of our extraction.", metavar="NAME"),
]
Judge = Annotated[
    str | None,
    typer.Option(help="Model that judges what the rules leave open, as a metric of its own.", metavar="URL"),
]
JudgeModel = Annotated[str | None, typer.Option(help="Model name at --judge.", metavar="NAME")]
JudgeKeyVariable = Annotated[
    str | None, typer.Option(help="Environment variable that holds the key of --judge.", metavar="VAR")
]
ScoreLimit = Annotated[int | None, typer.Option(min=1, help="Score the first items only.", metavar="N")]
ScoreIds = Annotated[Path | None, typer.Option(help="Score the items named in this file.", metavar="FILE")]
What = Annotated[str, typer.Argument(help="tasks, methods, engines, recipes or runs; nothing lists all but runs.")]
ValidateTask = Annotated[str, typer.Option("--task", help="Tasks to prove, e.g. math500,mathvista.", metavar="T[,T]")]
FetchTask = Annotated[str, typer.Option("--task", help="The task, e.g. mathvista or gsm8k-platinum.", metavar="T")]
FetchTo = Annotated[
    Path, typer.Option("--to", help="Folder that --data-dir will read; made when missing.", metavar="DIR")
]
ExportFolder = Annotated[Path, typer.Argument(help="Folder for the yaml files; made when missing.", metavar="DIR")]
ExportTask = Annotated[
    str | None, typer.Option("--task", help="Tasks to export; all language benchmarks when not given.", metavar="T[,T]")
]
ExportSamples = Annotated[
    int, typer.Option("--n", min=1, help="Samples per item; above 1 at temperature 0.6.", metavar="K")
]
ExportTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest response, in tokens.", metavar="N")]
