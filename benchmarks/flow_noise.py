"""How much of a flow reward is noise, and which estimator removes it at the least cost.

    python benchmarks/flow_noise.py [--steps 300] [--epochs 40] [--write]

In: nothing (a `tiny-lm` is trained for a moment on arithmetic solutions, a flow is fitted to its latents). Out: for every
estimator the rank correlation of a rollout's token scores between two independent scorings, the overlap of the tokens that
the filter keeps, and the cost; `--write` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness.core.records import Example
from harness.models import tiny
from rewards.flow import fit
from rewards.flow.field import FieldConfig, VelocityField
from rewards.flow.filter import fluctuation
from rewards.flow.score import Estimator, Scoring, score_chunk
from rewards.method import Chunk
from rewards.support.layers import layer_indices
from tasks.resolve import resolve

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
HEADING = "## Flow reward noise"
LAYERS = (0.25, 0.5, 0.75)
ESTIMATORS: tuple[tuple[Estimator, int, tuple[float, ...]], ...] = (
    ("independent", 1, (0.8,)),
    ("independent", 4, (0.8,)),
    ("independent", 16, (0.8,)),
    ("independent", 64, (0.8,)),
    ("independent", 4, (0.5, 0.65, 0.8)),
    ("antithetic", 2, (0.8,)),
    ("antithetic", 16, (0.8,)),
    ("shared", 1, (0.8,)),
    ("shared", 4, (0.8,)),
    ("shared", 16, (0.8,)),
    ("shared-antithetic", 2, (0.8,)),
    ("shared-antithetic", 4, (0.8,)),
    ("shared-antithetic", 16, (0.8,)),
    ("shared-antithetic", 2, (0.5, 0.65, 0.8)),
)


@dataclass
class Subject:
    """A small policy with its tokenizer: solutions in, chunks of latents out."""

    model: Any
    tokens: Any

    def encode(self, example: Example) -> tuple[list[int], list[int]]:
        text = f"<|im_start|>user\n{example.question}<|im_end|>\n<|im_start|>assistant\n"
        return self.tokens.encode(text), self.tokens.encode(f"{example.solution}<|im_end|>")

    def train(self, examples: Sequence[Example], steps: int) -> float:
        """Supervised steps on worked solutions; returns the last loss."""
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=2e-3, weight_decay=0.0)
        draw, loss = torch.Generator().manual_seed(0), torch.zeros(())
        for _ in range(steps):
            rows = torch.randint(len(examples), (32,), generator=draw).tolist()
            ids, labels = self._padded([self.encode(examples[i]) for i in rows])
            loss = self.model(input_ids=ids, attention_mask=(ids >= 0).long(), labels=labels).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(loss.detach())

    def _padded(self, pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
        longest = max(len(p) + len(s) for p, s in pairs)
        ids, labels = torch.zeros(2, len(pairs), longest, dtype=torch.long)
        labels[:] = -100
        for row, (prompt, solution) in enumerate(pairs):
            ids[row, : len(prompt) + len(solution)] = torch.tensor(prompt + solution)
            labels[row, len(prompt) : len(prompt) + len(solution)] = torch.tensor(solution)
        return ids, labels

    @torch.no_grad()
    def respond(self, example: Example, limit: int = 64) -> Example:
        """The example with a sampled response (temperature 1, seeded by its id) as its solution."""
        prompt, _ = self.encode(example)
        draw = torch.Generator().manual_seed(int.from_bytes(example.id.encode()[-6:], "big"))
        ids: list[int] = []
        while len(ids) < limit and (not ids or ids[-1] != self.tokens.eos_token_id):
            logits = self.model(input_ids=torch.tensor([prompt + ids])).logits[0, -1].float()
            ids.append(int(torch.multinomial(logits.softmax(-1), 1, generator=draw)))
        return replace(example, solution=self.tokens.decode([i for i in ids if i != self.tokens.eos_token_id]))

    @torch.no_grad()
    def scan(self, examples: Sequence[Example], rows: int = 32) -> Iterator[Chunk]:
        for start in range(0, len(examples), rows):
            part = [(e, *self.encode(e)) for e in examples[start : start + rows]]
            longest = max(len(s) for _, _, s in part)
            depth = self.model.config.num_hidden_layers
            hidden = {i: torch.zeros(len(part), longest + 1, self.size) for i in layer_indices(LAYERS, depth)}
            mask = torch.zeros(len(part), longest, dtype=torch.bool)
            for row, (_, prompt, solution) in enumerate(part):
                out = self.model(input_ids=torch.tensor([prompt + solution]), output_hidden_states=True)
                mask[row, : len(solution)] = True
                for layer, states in hidden.items():
                    # hidden_states[0] is the embedding, so layer l's output is hidden_states[l + 1]
                    states[row, : len(solution) + 1] = out.hidden_states[layer + 1][0, len(prompt) - 1 :]
            zeros, ones = torch.zeros(mask.shape), torch.ones(len(part))
            yield Chunk(
                rows=torch.arange(len(part)), keys=tuple(e.id for e, _, _ in part), ids=zeros.long(), mask=mask,
                logp=zeros, entropy=zeros, hidden=hidden, layers=depth, outcome=ones, graded=ones.bool(), seed=0, step=0,
            )  # fmt: skip

    @property
    def size(self) -> int:
        return int(self.model.config.hidden_size)


def step(loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
    optimiser.step()
    return norm


def track(items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
    return iter(items)


def spearman(x: Tensor, y: Tensor) -> float:
    ranks = torch.stack([x.argsort().argsort(), y.argsort().argsort()]).double()
    return float(torch.corrcoef(ranks)[0, 1])


def overlap(x: Tensor, y: Tensor, mask: Tensor) -> float:
    """Mean Jaccard index of the tokens that the default filter keeps."""
    a, b = fluctuation(x, mask) != 0, fluctuation(y, mask) != 0
    return float(((a & b).sum(-1) / (a | b).sum(-1).clamp(min=1)).mean())


def scored(field: VelocityField, chunks: Sequence[Chunk], how: Scoring, step: int) -> list[Tensor]:
    return [score_chunk(field, replace(c, step=step), LAYERS, how).mean for c in chunks]


def correlations(chunks: Sequence[Chunk], one: Sequence[Tensor], two: Sequence[Tensor]) -> Tensor:
    """Rank correlation of the token scores of every rollout of more than five tokens."""
    rows = [
        (a[m], b[m]) for c, x, y in zip(chunks, one, two, strict=True) for a, b, m in zip(x, y, c.mask, strict=True)
    ]
    return torch.tensor([spearman(a, b) for a, b in rows if len(a) > 5])


def measure(
    field: VelocityField, chunks: Sequence[Chunk], hows: Sequence[Scoring], rounds: int = 5
) -> list[tuple[Scoring, dict[str, float]]]:
    """Every estimator scores every rollout once a round, with the noise of that round; the first two are compared.

    Rounds interleave the estimators and processor time is read, because the machine is shared; `cost` is the median over
    rounds of the time relative to the first estimator's in the same round. `truth`: 128 independent draws.
    """
    runs: list[list[list[Tensor]]] = [[] for _ in hows]
    times = torch.zeros(rounds, len(hows))
    for number in range(rounds):
        for place, how in enumerate(hows):
            start = time.process_time()
            found = scored(field, chunks, how, number)
            times[number, place] = time.process_time() - start
            if number < 2:
                runs[place].append(found)
    steps = {how.timesteps for how in hows}
    truth = {t: scored(field, chunks, Scoring(t, draws=128), rounds) for t in steps}
    tokens = sum(int(c.mask.sum()) for c in chunks)
    rows = []
    for place, how in enumerate(hows):
        one, two = runs[place]
        ranks = correlations(chunks, one, two)
        low, high = torch.quantile(ranks, torch.tensor([0.1, 0.9])).tolist()
        kept = [overlap(x, y, c.mask) for c, x, y in zip(chunks, one, two, strict=True)]
        row = {"rank": float(ranks.mean()), "low": low, "high": high, "jaccard": sum(kept) / len(kept)}
        row["truth"] = float(correlations(chunks, one, truth[how.timesteps]).mean())
        row["ms"] = float(times[:, place].min()) * 1e6 / tokens
        row["cost"] = float((times[:, place] / times[:, 0]).median())
        rows.append((how, row))
    return rows


def table(rows: Sequence[tuple[Scoring, dict[str, float]]]) -> str:
    lines = [
        "| estimator | draws | timesteps | network calls a token and layer | rank correlation (p10-p90) | Jaccard of kept tokens "
        "| correlation with 128 draws | CPU ms per 1,000 tokens | cost |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for how, m in rows:
        steps = ", ".join(map(str, how.timesteps))
        lines.append(
            f"| {how.estimator} | {how.draws} | {steps} | {how.draws * len(how.timesteps)} | {m['rank']:.2f} "
            f"({m['low']:.2f}-{m['high']:.2f}) | {m['jaccard']:.2f} | {m['truth']:.2f} | {m['ms']:.0f} | {m['cost']:.1f} |"
        )
    return "\n".join(lines)


def write(section: str) -> None:
    """Replace the section of the page, or append it."""
    text = PAGE.read_text("utf-8") if PAGE.is_file() else "# Benchmarks\n"
    before, found, after = text.partition(HEADING)
    rest = after[after.index("\n## ") :] if found and "\n## " in after else "\n" if found else ""
    PAGE.write_text(before.rstrip() + "\n\n" + section.rstrip() + "\n" + rest, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="supervised steps of the policy")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of the flow over 240 solutions")
    parser.add_argument("--rollouts", type=int, default=64)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = tiny.build("tiny-lm", Path(folder) / "tiny-lm")
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    subject = Subject(model, tiny.tokenizer())
    expert = resolve("arithmetic-expert").load()
    loss = subject.train(expert, asked.steps)
    model.eval()
    field = VelocityField(FieldConfig(subject.size, subject.size, 4), torch.Generator().manual_seed(0))
    target = fit.Target(("previous",), LAYERS)
    settings = fit.Fit(lr=1e-3, epochs=asked.epochs, batch=16)
    report = fit.offline(field, subject.scan, expert[:240], target, settings, step, track)
    prompts = resolve("arithmetic-validation").load()[: asked.rollouts]
    chunks = list(subject.scan([subject.respond(e) for e in prompts]))
    rows = measure(field, chunks, [Scoring(t, estimator=e, draws=n) for e, n, t in ESTIMATORS])
    tokens = sum(int(c.mask.sum()) for c in chunks)
    note = (
        f"`python benchmarks/flow_noise.py --steps {asked.steps} --epochs {asked.epochs} --rollouts {asked.rollouts}`: a tiny-lm "
        f"(D = {subject.size}) after {asked.steps} supervised steps on arithmetic (loss {loss:.2f}); flow of depth 4 fitted to "
        f"240 solutions (held-out loss {report.held_out_before:.2f} to {report.held_out_after:.2f}); {len(prompts)} sampled "
        f"rollouts, {tokens} tokens, three layers. Each is scored twice with independent noise. Times are processor times of one "
        "thread on a shared machine, the estimators interleaved: the shortest of five rounds, and the median ratio to the first "
        "row (read the ratio). Draws share the part of the network that does not see x_t."
    )
    section = f"{HEADING}\n\n{note}\n\n{table(rows)}\n"
    print(section)
    if asked.write:
        write(section)


if __name__ == "__main__":
    main()
