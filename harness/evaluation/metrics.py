"""Graded samples in, metrics with intervals out: accuracy, avg@n, pass@k, maj@k, by category, ungraded, truncated.

accuracy = correct / asked, where asked is every example of the split: an ungraded sample stays in the denominator and is
counted beside. Intervals are 95 %: Wilson where every item has one sample, else a bootstrap over questions, because the
samples of one question are not independent. Nothing here returns a NaN.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

from harness.core.records import Finish, Sample, Side, Status

UNGRADED_LIMIT = 0.02
TRUNCATED_LIMIT = 0.02
RESAMPLES = 4000
Z95 = NormalDist().inv_cdf(0.975)

Clusters = Callable[[Sequence[str | None]], Sequence[int]]
"""Equal answers get equal numbers; None (no answer) gets a negative one."""


def wilson(correct: float, n: int) -> tuple[float, float]:
    """Wilson score interval of a share at 95 % (Wilson 1927): never empty, also at 0 and at 1. n = 0 gives (0, 1)."""
    if n <= 0:
        return 0.0, 1.0
    p, z2 = correct / n, Z95 * Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def question_bootstrap(means: Sequence[float]) -> tuple[float, float]:
    """95 % percentile interval of the mean over questions, questions resampled with a fixed stream of its own.

    `means`: one value per question, in an order that does not depend on the run. Where all are equal, resampling shows
    no spread although there is some, so Wilson over the questions is given.
    """
    import numpy as np

    values = np.asarray(means, dtype=np.float64)
    n = len(values)
    if n == 0 or bool(np.all(values == values[0])):
        return wilson(float(values.sum()), n)
    stream = np.random.default_rng(20_251_010)
    rows = max(1, 4_000_000 // n)
    draws = [values[stream.integers(0, n, (min(rows, RESAMPLES - i), n))].mean(1) for i in range(0, RESAMPLES, rows)]
    low, high = np.quantile(np.concatenate(draws), [0.025, 0.975])
    return float(low), float(high)


def pass_at(k: int, n: int, correct: int) -> float:
    """Unbiased chance that one of k samples is right, from n samples: 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374)."""
    if not 0 < k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {n}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def equal_text(extracted: Sequence[str | None]) -> list[int]:
    """Clusters of answers that read the same but for spaces and case; -1 without an answer."""
    numbers: dict[str, int] = {}
    keys = [None if text is None else "".join(text.split()).casefold() for text in extracted]
    return [-1 if key is None else numbers.setdefault(key, len(numbers)) for key in keys]


def majority(correct: Sequence[bool], clusters: Sequence[int]) -> float:
    """Chance that the most frequent answer is right. Ties count by their share, so that nothing is drawn at random."""
    votes: dict[int, list[bool]] = defaultdict(list)
    for right, cluster in zip(correct, clusters, strict=True):
        if cluster >= 0:
            votes[cluster].append(right)
    if not votes:
        return 0.0
    most = max(map(len, votes.values()))
    winners = [sum(v) / most for v in votes.values() if len(v) == most]
    return sum(winners) / len(winners)


Items = Mapping[str, Sequence[Sample]]


def by_item(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples of each item in order of their index; items sorted, so that no result depends on the order of the log."""
    items: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        items[sample.id].append(sample)
    return {key: sorted(items[key], key=lambda s: s.sample_index) for key in sorted(items)}


def accuracy(items: Items, protocol: str | None = None) -> dict[str, Any]:
    """`value`, `ci95`, `interval`, `n` (items), `graded` and `ungraded` (samples). Every item weighs the same."""
    statuses = {key: [_status(s, protocol) for s in rows] for key, rows in items.items()}
    means = [sum(s is Status.CORRECT for s in rows) / len(rows) for rows in statuses.values()]
    single = all(len(rows) == 1 for rows in statuses.values())
    low, high = wilson(sum(means), len(means)) if single else question_bootstrap(means)
    graded = sum(s is not Status.UNGRADED for rows in statuses.values() for s in rows)
    total = sum(map(len, statuses.values()))
    return {
        "value": sum(means) / len(means) if means else None,
        "ci95": [low, high],
        "interval": "wilson" if single else "bootstrap over questions",
        "n": len(means),
        "graded": graded,
        "ungraded": total - graded,
    }


def _status(sample: Sample, protocol: str | None) -> Status:
    if protocol is None or protocol == sample.protocol:
        return sample.verdict
    return Status(sample.verdicts[protocol]["status"])


def summarise(
    samples: Sequence[Sample],
    *,
    categories: Sequence[str] = (),
    clusters: Callable[[str], Clusters] | None = None,
) -> dict[str, Any]:
    """All metrics of one evaluation under the protocol of its samples.

    `categories`: keys of `Sample.categories` to break accuracy down by. `clusters`: item id -> the function that tells
    which of its extracted answers are equal (default: equal text). Returns `metrics`, `by_category`, `n` (items),
    `samples`, `ungraded`, `headline` (False when too much is ungraded) and `warnings` (sentences).
    """
    items = by_item(samples)
    counts = [len(rows) for rows in items.values()]
    noted = {key for key, rows in items.items() if rows[0].note}
    metrics: dict[str, Any] = {"accuracy": accuracy(items)}
    metrics["protocols"] = {p: _brief(accuracy(items, p)) for p in _protocols(samples)}
    if noted:
        kept = {key: rows for key, rows in items.items() if key not in noted}
        metrics["accuracy_without_noted"] = {**_brief(accuracy(kept)), "n": len(kept), "removed": len(noted)}
    if counts and max(counts) > 1:
        metrics.update(_repeats(items, clusters or (lambda _: equal_text)))
    metrics["ungraded"] = _ungraded(samples)
    metrics["truncated"] = _share(samples, lambda s: s.finish == Finish.LENGTH)
    metrics["no_answer"] = _share(samples, lambda s: s.extracted is None)
    metrics["length"] = _lengths(samples)
    notes, headline = _warnings(metrics, counts)
    return {
        "n": len(items),
        "samples": len(samples),
        "ungraded": metrics["ungraded"]["count"],
        "headline": headline,
        "warnings": notes,
        "metrics": metrics,
        "by_category": {c: _broken_down(items, c) for c in categories},
    }


def _brief(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("value", "ci95", "ungraded")}


def _protocols(samples: Sequence[Sample]) -> list[str]:
    """Protocols for which every sample has a verdict."""
    common = set(samples[0].verdicts) if samples else set()
    for sample in samples:
        common &= set(sample.verdicts)
    return sorted(common)


def _repeats(items: Items, clusters: Callable[[str], Clusters]) -> dict[str, Any]:
    """avg@n, pass@k for k = 1, 2, 4 .. n and maj@n; n is the least number of samples of an item."""
    least = min(map(len, items.values()))
    right = {key: [s.verdict is Status.CORRECT for s in rows] for key, rows in items.items()}
    ks = [k for k in (2**i for i in range(least.bit_length())) if k < least] + [least]
    passes = {str(k): _mean([pass_at(k, len(r), sum(r)) for r in right.values()]) for k in ks}
    votes = [
        majority(right[key][:least], clusters(key)([s.extracted for s in rows[:least]])) for key, rows in items.items()
    ]
    return {
        "avg@n": {"n": least, "value": _mean([sum(r) / len(r) for r in right.values()])},
        "pass@k": passes,
        "maj@k": {str(least): _mean(votes)},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ungraded(samples: Sequence[Sample]) -> dict[str, Any]:
    rows = [s for s in samples if s.verdict is Status.UNGRADED]
    return {
        **_count(len(rows), len(samples)),
        "instrument": sum(s.side is Side.INSTRUMENT for s in rows),
        "answer": sum(s.side is Side.ANSWER for s in rows),
        "reasons": dict(sorted(Counter(s.reason for s in rows).items())),
    }


def _share(samples: Sequence[Sample], test: Callable[[Sample], bool]) -> dict[str, Any]:
    return _count(sum(map(test, samples)), len(samples))


def _count(count: int, total: int) -> dict[str, Any]:
    return {"count": count, "share": count / total if total else 0.0}


def _lengths(samples: Sequence[Sample]) -> dict[str, Any]:
    """Tokens and characters of the responses; tokens are 0 where a recording does not say."""
    tokens = sorted(s.tokens for s in samples)
    characters = [len(s.response) for s in samples]
    if not tokens:
        return {"tokens": 0, "tokens_mean": 0.0, "tokens_p95": 0, "characters_mean": 0.0}
    return {
        "tokens": sum(tokens),
        "tokens_mean": _mean(tokens),
        "tokens_p95": tokens[math.ceil(0.95 * len(tokens)) - 1],
        "characters_mean": _mean(characters),
    }


def _broken_down(items: Items, category: str) -> dict[str, Any]:
    """Accuracy per value of one category; an item with a list of values counts under each of them."""
    groups: dict[str, dict[str, Sequence[Sample]]] = defaultdict(dict)
    for key, rows in items.items():
        value = rows[0].categories.get(category)
        for name in value if isinstance(value, list | tuple) else [value]:
            groups["(none)" if name is None else str(name)][key] = rows
    return {name: accuracy(groups[name]) for name in sorted(groups)}


def _warnings(metrics: Mapping[str, Any], counts: Sequence[int]) -> tuple[list[str], bool]:
    """Sentences a reader must see, and whether the headline number stands."""
    notes = []
    ungraded, truncated = metrics["ungraded"], metrics["truncated"]
    headline = ungraded["share"] <= UNGRADED_LIMIT
    if not headline:
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(ungraded["reasons"].items(), key=lambda r: -r[1])[:3])
        notes.append(
            f"{ungraded['share']:.1%} of the samples are ungraded (limit {UNGRADED_LIMIT:.0%}): no headline. {why}"
        )
    if truncated["share"] > TRUNCATED_LIMIT:
        notes.append(f"{truncated['share']:.1%} of the samples were cut at the token limit: raise --max-new-tokens")
    if counts and min(counts) != max(counts):
        notes.append(f"items have {min(counts)} to {max(counts)} samples; every item weighs the same")
    return notes, headline
