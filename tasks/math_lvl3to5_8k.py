"""MATH problems of levels 3 to 5 (about 8,500), the language training set of the paper's recipe.

Hub: hkust-nlp/SimpleRL-Zoo-Data (Apache-2.0), file simplelr_qwen_level3to5/train.parquet: problem, answer (LaTeX without `$`),
subject, level, and `input`, a finished chat text that is not used. RLFR's own copy is split train of rlfr-dataset-lm. The set
may hold items of the original MATH test split outside MATH-500 (unverified): results count the n-gram overlap.
"""

from __future__ import annotations

from typing import ClassVar

from tasks.base import Hub, task
from tasks.support.mathematics import MathTask


@task.register("math-lvl3to5-8k")
class MathLevels3To5(MathTask):
    """MATH problems of levels 3 to 5, for training."""

    licence = "Apache-2.0"
    splits = ("train",)
    hub: ClassVar = {
        "train": Hub("hkust-nlp/SimpleRL-Zoo-Data", "train", data_files="simplelr_qwen_level3to5/train.parquet"),
    }
    files: ClassVar = {"train": "math-lvl3to5-8k.jsonl"}
    id_columns = ()
    columns = ("problem", "answer")
    categories = ("level", "subject")
