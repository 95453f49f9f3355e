"""We-Math (Qiao et al. 2024): 525 problems, each asked whole and step by step; 1,740 multiple-choice rows (testmini).

Columns ID, key, question, option (one string), answer, image_path, `knowledge concept`. 360 problems have two steps, 165
three; a row is known by (ID, key). Authors' rule: the text after the last "Answer" (without one the whole response), without
`<>:.`, begins with the letter. It belongs to their template (`--prompt official`) and takes the B of "Based on" elsewhere, so
`official` takes the marked letter first; its reasons then start with `marked_`.

`aggregate` gives the authors' scores: with s the steps and M the whole problem, insufficient knowledge IK (a step wrong, M
wrong), inadequate generalisation IG (steps right, M wrong), complete mastery CM (steps right, M right; loose: one step right),
rote memorisation RM (a step wrong, M right; loose: all wrong). Score = (CM + IG / 2) / N; RM is a share of CM + RM.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.core.records import Answer, Example, Sample
from rewards.verifier.answers.marks import final_answer
from tasks.base import Hub, Task, task, user
from tasks.support.golds import choice
from tasks.support.prose import compared
from tasks.support.reading import names_option

_LABEL = re.compile(r"(?:^|[;\s])\s*([A-H])\.\s*(?=[^;\s])")
LETTERS = "ABCDEFGH"


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool | None, str | None, str]:
    """The marked letter, else the authors'."""
    marked = final_answer(response, answer.type, len(answer.choices)) if extracted is None else None
    if marked and names_option(marked, answer.choices):
        right, reason = compared(answer, marked)
        return bool(right), marked, f"marked_{reason}"
    letter = authors_letter(response if extracted is None else extracted)
    if letter is None:
        return False, marked, "no_answer"
    return letter == answer.golds[0], letter, "match" if letter == answer.golds[0] else "mismatch"


def authors_letter(response: str) -> str | None:
    """The first character behind the last word Answer, or of the whole response, without `<>:.`, if it is a letter."""
    tail = re.sub("[<>:.]", "", response.rpartition("Answer")[2].strip()).strip()
    return tail[0] if tail[:1] and tail[0] in LETTERS else None


@task.register("wemath")
class WeMath(Task):
    """We-Math: multiple-choice problems asked whole and step by step."""

    modality = "multimodal"
    licence = "CC-BY-NC-4.0"
    version = 2
    splits = ("testmini",)
    hub: ClassVar = {"testmini": Hub("We-Math/We-Math", "testmini")}
    files: ClassVar = {"testmini": "testmini.jsonl"}
    columns = ("ID", "key", "question", "option", "answer")
    categories = ("key", "knowledge concept")
    lenient = "the first letter behind the last word Answer, or of the whole response, counts"

    def item_id(self, row: Mapping[str, Any], number: int) -> str:
        return f"{row['ID']}/{row['key']}" if "ID" in row and "key" in row else str(number)

    def image(self, row: Mapping[str, Any], column: str, path_column: str = "") -> Any:
        """Pictures lie below images/ in the local copy."""
        value = row.get(column)
        return self.picture(f"images/{value}" if isinstance(value, str) and not value.startswith("images/") else value)

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        options = split_options(row["option"])
        lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False) if text]
        return Example(
            id=item,
            task=self.name,
            messages=user("\n".join([f"Question: {row['question']}", "Options:", *lines]), images=1),
            answer=choice(str(row["answer"]).strip(), options),
            images=(self.image(row, "image_path"),),
            rule="tasks.wemath:official",
            metadata={key: row[key] for key in self.categories if row.get(key)},
        )

    def aggregate(self, samples: Sequence[Sample]) -> dict[str, float]:
        """The four dimensions and the score, strict and loose, and S1 to S3 by number of steps.

        A problem counts when all its rows are there; several samples of a row are scored in turn and averaged.
        """
        found: dict[tuple[str, int], dict[str, bool]] = defaultdict(dict)
        for sample in samples:
            problem, _, key = sample.id.rpartition("/")
            found[(key.partition("_")[0] + problem, sample.sample_index)][key] = sample.verdict == "correct"
        whole = [rows for rows in found.values() if len(rows) == int(next(iter(rows))[0]) + 1]
        result = {
            f"{name} {mode}": value for mode in ("strict", "loose") for name, value in _scores(whole, mode).items()
        }
        for steps, test in (("S1", "_[123]$"), ("S2", "^2steps_multi"), ("S3", "^3steps_multi")):
            rows = [right for keys in found.values() for key, right in keys.items() if re.search(test, key)]
            if rows:
                result[steps] = sum(rows) / len(rows)
        return result


def _scores(problems: Sequence[Mapping[str, bool]], mode: str) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for rows in problems:
        steps = [right for key, right in rows.items() if not key.endswith("multi")]
        whole = any(right for key, right in rows.items() if key.endswith("multi"))
        mastered = all(steps) if mode == "strict" else any(steps)
        counts[("CM" if mastered else "RM") if whole else "IG" if all(steps) else "IK"] += 1
    n, answered = len(problems), counts["CM"] + counts["RM"]
    if not n:
        return {}
    rates = {"IK": counts["IK"] / n, "IG": counts["IG"] / n, "CM": counts["CM"] / n}
    return {
        "score": (counts["CM"] + 0.5 * counts["IG"]) / n,
        **rates,
        **({"RM": counts["RM"] / answered} if answered else {}),
    }


def split_options(text: str) -> tuple[str, ...]:
    """Option texts by letter from `A. 300;B. 400; E. none`; "" for a letter that is skipped. Separators may be missing."""
    labels: list[re.Match[str]] = []
    for label in _LABEL.finditer(text):
        if not labels or label[1] > labels[-1][1]:
            labels.append(label)
    texts = dict.fromkeys(LETTERS[: LETTERS.index(labels[-1][1]) + 1], "") if labels else {}
    for label, following in zip(labels, [*labels[1:], None], strict=True):
        texts[label[1]] = text[label.end() : following.start() if following else None].strip(" ;")
    return tuple(texts.values())
