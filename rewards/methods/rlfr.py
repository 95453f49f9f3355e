"""Flow rewards from the policy's own hidden states, added to GRPO (RLFR).

Paper: arXiv 2510.10201. A flow field fitted to the hidden states of good reasoning gives every response token a deviation
`s_k = mean t/(1-t) * mean_D (v - u)^2`; filtered, it becomes `r_k = -beta * s_k`, and
`A_k = (R - mean_g)/(std_g + eps) + sum_{j >= k} gamma^(j-k) r_j` goes into GRPO's clipped surrogate.
Shapes: scores [B, T], latents [b, S+1, D] of each layer. Assumes expert solutions, or `flow_path`. docs/methods/rlfr.md
lists every difference from the authors' code.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.core.errors import ConfigError
from rewards.flow import fit
from rewards.flow.field import FieldConfig, VelocityField, default_depth
from rewards.flow.filter import Norm, flow_reward, fluctuation
from rewards.flow.latents import Pairing, Store, partnered, pick, trajectories
from rewards.flow.score import Estimator, Scoring, score_chunk
from rewards.method import Batch, Chunk, Context, Method, Pass, method
from rewards.support.layers import layer_indices
from rewards.support.schedule import cosine
from rewards.support.seeds import stable_hash
from rewards.support.stats import auroc


@method.register("rlfr")
class Rlfr(Method):
    """GRPO with the flow reward. `beta` 0 switches the flow off, scoring included."""

    paper: ClassVar[str] = "arXiv 2510.10201"
    provenance: ClassVar[str] = "code: Jinghaoleven/RLFR"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"beta": 0.0})
    paper_recipe: ClassVar[Mapping[str, Any]] = {"train.ratio_cap": 3.0}

    beta: float = 0.01
    gamma: float = 1.0
    eta: float = 0.6
    top_k: int = 15
    norm: Norm = "minmax"
    norm_power: float = 1.0
    layers: tuple[float | int, ...] = (0.25, 0.5, 0.75)
    timesteps: tuple[float, ...] = (0.8,)
    pairing: Pairing | tuple[Pairing, ...] = "previous"
    noise_draws: int = 1
    estimator: Estimator = "independent"
    flow_path: str | None = None
    depth: int | None = None
    width: int | None = None
    offline_epochs: int = 2
    offline_batch: int = 32
    offline_lr: float = 1e-4
    flow_seed: int = 0
    online: bool = True
    flow_lr: float = 1e-4
    flow_batch_mul: int = 2
    rejection: Literal["batch_correct", "trajectory_entropy"] = "batch_correct"
    entropy_quantile: float = 0.5
    rejected_weight: float = 0.0
    update_tokens: int = 65_536
    chunk_tokens: int = 8192
    precision: Literal["float32", "bfloat16"] = "float32"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._store = Store(self.update_tokens)
        self._report: dict[str, float] = {}
        pairings = (self.pairing,) if isinstance(self.pairing, str) else self.pairing
        self.target = fit.Target(tuple(pairings), tuple(self.layers))
        self.scoring = Scoring(
            self.timesteps, self.target.pairings, self.estimator, self.noise_draws, self.chunk_tokens, self.precision
        )
        self._refuse_nonsense()

    @property
    def advantage_needs_signals(self) -> bool:
        return self.active

    def _refuse_nonsense(self) -> None:
        wrong = [
            (self.noise_draws < 1, "noise_draws must be at least 1", "the paper uses 1"),
            (
                self.scoring.antithetic and self.noise_draws % 2 == 1,
                "antithetic draws come in pairs",
                "make noise_draws even",
            ),
            (
                not all(0.0 < t < 1.0 for t in self.timesteps),
                "timesteps must lie in (0, 1)",
                "t = 1 is data; the paper uses 0.8",
            ),
            (not self.layers or not self.timesteps, "layers and timesteps may not be empty", "name at least one"),
            (not self.target.pairings, "pairing may not be empty", "previous, next, identity or several of them"),
            (self.update_tokens < 1, "update_tokens must be positive", "or set online to false"),
        ]
        for broken, what, remedy in wrong:
            if broken:
                raise ConfigError(f"methods.{self.key}: {what}", remedy)

    @property
    def active(self) -> bool:
        return self.beta != 0.0

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old", hidden=self.layers, read="score"),) if self.active else (Pass(name="old"),)

    @property
    def uses_expert(self) -> bool:
        return self.active and self.flow_path is None and self.offline_epochs > 0

    def setup(self, ctx: Context) -> None:
        """Build the flow and, in a new run, load it or fit it to the recipe's expert solutions (cached by content)."""
        if not self.active:
            return
        config = FieldConfig(
            ctx.hidden_size, self.width or ctx.hidden_size, self.depth or default_depth(ctx.hidden_size, ctx.layers)
        )
        net = VelocityField(config, torch.Generator().manual_seed(self.flow_seed))
        if not ctx.resumed and self.flow_path is not None:
            exact = self.width is not None or self.depth is not None
            net, report = fit.load(Path(self.flow_path), self.target, config, exact)
            self._take(report)
        net = net.to(ctx.device)
        if not ctx.resumed and self.flow_path is None and self.offline_epochs > 0:
            net = self._fitted(net, ctx)
        self._use(net)

    @property
    def _net(self) -> VelocityField:
        return self.networks["flow"]  # type: ignore[return-value]

    def _build(self, config: FieldConfig, device: torch.device) -> None:
        """A field of another shape, to be filled from a checkpoint: a flow_path decides it in the run's first session."""
        if config != self._net.config:
            self._use(VelocityField(config, torch.Generator().manual_seed(self.flow_seed)).to(device))

    def _use(self, net: VelocityField) -> None:
        self.networks["flow"] = net
        if self.online:
            parameters = net.parameters()
            self.optimisers["flow"] = torch.optim.AdamW(
                parameters, lr=self.flow_lr, betas=(0.9, 0.95), weight_decay=0.0
            )

    def _fitted(self, net: VelocityField, ctx: Context) -> VelocityField:
        """The field after its offline fit, from the cache when the same fit was done before."""
        examples = [e for e in ctx.expert() if e.solution]
        if not examples:
            raise ConfigError(
                "method 'rlfr' fits its flow to expert solutions and the recipe names none",
                "set expert.task and expert.split, methods.rlfr.flow_path, or methods.rlfr.offline_epochs=0",
            )
        how = self._how(self.flow_seed, lr=self.offline_lr, epochs=self.offline_epochs, batch=self.offline_batch)
        solutions = [(e.id, hashlib.sha256((e.solution or "").encode()).hexdigest()) for e in examples]
        key = fit.identity(
            ctx.policy_digest, self.target.describe(), str(net.config), str(how), solutions, ctx.expert_tokens
        )
        folder = ctx.cache / f"flow-{key}"
        if (folder / "flow.json").is_file():
            cached, report = fit.load(folder, self.target, net.config)
            self._take(report)
            self.spared_seconds = float(report.get("seconds", 0.0))
            return cached.to(ctx.device)
        state = ctx.cache / f"flow-{key}.part"
        around = fit.Around(lambda e: ctx.scan(e, self.passes[0]), ctx.step, ctx.track, state)
        result = fit.offline(net, examples, self.target, how, around)
        result.seconds = round(result.seconds, 3)
        result.cut, result.cut_tokens = len(ctx.cut), sum(ctx.cut.values())
        fit.save(folder, net, self.target, result)
        shutil.rmtree(state, ignore_errors=True)
        self._take(asdict(result))
        return net

    def _take(self, report: Mapping[str, Any]) -> None:
        names = {"loss": "flow/offline_loss", "held_out_after": "flow/offline_held_out", "cut": "flow/offline_cut"}
        kept = {k: v for k, v in report.items() if k in names and v is not None and (k != "cut" or v)}
        self._report = {names[k]: float(v) for k, v in kept.items()}

    def _how(self, seed: int, **changed: Any) -> fit.Fit:
        base = fit.Fit(batch_mul=self.flow_batch_mul, seed=seed, chunk=self.chunk_tokens, precision=self.precision)
        return replace(base, **changed)

    def score(self, chunk: Chunk) -> dict[str, Tensor]:
        """The pass's reader: `score [b, S]`, its noise variance with two or more draws, and the usual two signals.
        Keeps the latents of rollouts that may enter the update."""
        found = score_chunk(self.networks["flow"], chunk, self.layers, self.scoring)  # type: ignore[arg-type]
        if self.online:
            self._store.open(chunk.seed, chunk.step)
            wanted = chunk.graded & (chunk.outcome >= 1) if self._only_correct else chunk.graded
            hidden = pick(chunk.hidden, layer_indices(self.layers, chunk.layers))
            self._store.add(trajectories(chunk.keys, hidden, chunk.mask, wanted.nonzero().flatten().tolist()))
        signals = {"logp": chunk.logp, "entropy": chunk.entropy, "score": found.mean}
        return signals if found.variance is None else signals | {"noise_variance": found.variance}

    @property
    def _only_correct(self) -> bool:
        return self.rejection == "batch_correct" and self.rejected_weight == 0.0

    def filtered(self, batch: Batch) -> Tensor:
        """Scores [B, T] after the fluctuation filter; `batch.signals["old.score"]` keeps the unfiltered ones."""
        return self._filter(batch.signals["old.score"], batch.mask)

    def _filter(self, score: Tensor, mask: Tensor) -> Tensor:
        return fluctuation(score, self._scored(mask), self.eta, self.top_k, self.norm, self.norm_power)

    def derived(self, signals: Mapping[str, Tensor], mask: Tensor) -> Mapping[str, Tensor]:
        """The filtered scores, which no log keeps."""
        return {"old.score, filtered": self._filter(signals["old.score"], mask)} if "old.score" in signals else {}

    def _scored(self, mask: Tensor) -> Tensor:
        """Tokens with a partner under at least one pairing: only these enter the statistics of the filter."""
        scored = torch.zeros_like(mask)
        for pairing in self.target.pairings:
            scored = scored | partnered(mask, pairing)
        return scored

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        if not self.active:
            return advantage
        return advantage + flow_reward(self.filtered(batch), batch.mask, self.beta, self.gamma)

    def selection(self, batch: Batch) -> Tensor:
        """Weight [B] of every rollout in the online update: 1 chosen, `rejected_weight` rejected, 0 ungraded."""
        if self.rejection == "batch_correct":
            chosen = batch.outcome >= 1
        else:
            entropy = (batch.signals["old.entropy"] * batch.mask).sum(-1) / batch.lengths.clamp(min=1)
            graded = entropy[batch.graded]
            bound = torch.quantile(graded, self.entropy_quantile) if len(graded) else entropy.new_tensor(torch.inf)
            chosen = entropy >= bound
        weight = torch.where(chosen, 1.0, float(self.rejected_weight))
        return torch.where(batch.graded, weight, 0.0)

    def learn(self, batch: Batch, ctx: Context) -> dict[str, float]:
        """As many steps of the flow as the policy took, over the latents of the chosen rollouts."""
        if not self.active:
            return {}
        metrics = self._report | self._describe(batch)
        if self.online:
            metrics |= self._update(batch, ctx)
        return metrics

    def _update(self, batch: Batch, ctx: Context) -> dict[str, float]:
        weight = dict(zip(batch.keys(), self.selection(batch).tolist(), strict=True))
        items = [item for item in self._store.take() if weight.get(item.key, 0.0) > 0]
        optimiser = self.optimisers["flow"]
        optimiser.param_groups[0]["lr"] = self.flow_lr * cosine(batch.progress.fraction_after, 0.03, 0.1)
        depths = [index / ctx.layers for index in layer_indices(self.layers, ctx.layers)]
        weights = [weight[item.key] for item in items]
        how = self._how(stable_hash("learn", ctx.seed, batch.progress.step))
        net: VelocityField = self.networks["flow"]  # type: ignore[assignment]
        return fit.online(net, optimiser, items, weights, depths, self.target.pairings, how, ctx.policy_steps, ctx.step)

    def _describe(self, batch: Batch) -> dict[str, float]:
        """Scores, kept tokens, reward, noise, and whether a low score goes with a right answer (AUROC, 0.5: no)."""
        score, scored = batch.signals["old.score"], self._scored(batch.mask)
        count = scored.sum().clamp(min=1)
        kept = self.filtered(batch)
        rows = batch.graded & scored.any(-1)
        mean = (score * scored).sum(-1) / scored.sum(-1).clamp(min=1)
        metrics = {
            "flow/score": float((score * scored).sum() / count),
            "flow/kept": float((kept != 0).sum() / count),
            "flow/reward": float(-self.beta * kept.sum(-1)[rows].mean()) if bool(rows.any()) else 0.0,
        }
        separation = auroc(-mean[rows], batch.outcome[rows] >= 1)
        if not math.isnan(separation):
            metrics["flow/auroc"] = separation
        variance = batch.signals.get("old.noise_variance")
        if variance is not None:
            noise = (variance * scored).sum() / count
            spread = ((score - mean[:, None]).square() * scored).sum() / count
            metrics |= {
                "flow/noise_std": float(noise.sqrt()),
                "flow/noise_share": float(noise / spread.clamp(min=1e-12)),
            }
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "flow": self.target.describe(),
            "shape": {"width": self._net.config.width, "depth": self._net.config.depth} if self.active else {},
            "report": dict(self._report),
            "spared": self.spared_seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        fit.check(state["flow"], self.target, "the checkpoint")
        shape = state.get("shape") or {}
        if self.active and shape and self.width is None and self.depth is None:
            self._build(replace(self._net.config, **shape), self._net.leave.weight.device)
        self._report = dict(state["report"])
        self.spared_seconds = float(state.get("spared", 0.0))
        super().load_state_dict(state)
