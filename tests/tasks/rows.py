"""One row per task and split in the columns its source publishes, made up here: for snapshots and checks of columns."""

from __future__ import annotations

from typing import Any

from tests.tasks.conftest import png

_VISTA = {
    "pid": "824", "question": "How much money is it?", "image": "images/824.jpg", "unit": "$", "precision": 2.0,
    "metadata": {"language": "english", "skills": ["arithmetic reasoning"]}, "query": None, "answer_type": "float",
    "decoded_image": png(), "choices": None, "question_type": "free_form", "answer": "0.13",
}  # fmt: skip
_VERSE = {
    "sample_index": "1", "problem_index": "1", "image": png(), "question": "Find x.\nChoices:\nA:1\nB:2", "answer": "B",
    "question_type": "multi-choice", "metadata": {"subject": "Plane Geometry", "subfield": "Angle"},
    "query_cot": "Please first conduct reasoning, and then answer the question.\nQuestion: Find x.\nChoices:\nA:1\nB:2",
}  # fmt: skip
_CHAT = [{"role": "user", "content": "<image>Find x."}, {"role": "assistant", "content": "So \\boxed{3}"}]
_R1 = {
    "problem": "Find x.", "answer": "3", "generations": ["so \\boxed{3}"], "correctness_math_verify": [True],
    "is_reasoning_complete": [True], "source": "olympiads", "problem_type": "Algebra",
}  # fmt: skip
_MMMU = {
    "id": "validation_Math_1", "question": "Compare <image 1> with <image 2>.", "options": "['x', 'y']", "answer": "B",
    "question_type": "multiple-choice", "image_1": png(), "image_2": png(size=(56, 84)), "topic_difficulty": "Easy",
}  # fmt: skip

ROWS: dict[str, list[dict[str, Any]]] = {
    "aime24-test": [{"id": 60, "problem": "Find $x$.", "solution": "s", "answer": "025"}],
    "aime25-test": [{"question": "Find $x$.", "answer": "336^\\circ"}],
    "amc23-2022-2023": [{"problem": "Find $x$.", "answer": 142.0}],
    "geometry3k-test": [{"images": [png()], "problem": "<image>Find x.", "answer": "2\\sqrt{221}"}],
    "gsm8k-test": [{"question": "How many eggs?", "answer": "3*4=<<3*4=12>>12 eggs.\n#### 12"}],
    "logicvista-test": [{"image": png(), "question": "Which figure is next?", "answer": "A, C"}],
    "math-lvl3to5-8k-train": [{"problem": "Find $x$.", "answer": "\\frac{1}{4}", "subject": "Algebra", "level": 5}],
    "math500-test": [{"problem": "Find $x$.", "answer": "52_8", "subject": "Algebra", "level": 3, "unique_id": "test/1"}],
    "mathverse-testmini": [{**_VERSE, "problem_version": "Text Dominant"}],
    "mathvision-test": [
        {"id": "1", "question": "Which number?\n<image1>", "options": [], "answer": "60", "level": 2, "subject": "algebra",
         "decoded_image": png()},
        {"id": "2", "question": "Which figure?\n<image1>", "options": ["3", "4", "5", "6", "7"], "answer": "B", "level": 1,
         "subject": "counting", "decoded_image": png()},
    ],
    "mathvista-testmini": [
        _VISTA,
        {**_VISTA, "pid": "7", "choices": ["Yes", "No"], "question_type": "multi_choice", "answer_type": "text", "answer": "No",
         "unit": None},
    ],
    "minerva-test": [{"problem": "How long?", "answer": ["7 \\times 10^{37}\n", "7e37"]}],
    "mmk12-test": [{"id": "7", "question": "<image>How far?", "answer": "$$6$$", "subject": "physics", "image": png()}],
    "mmmu-validation": [_MMMU, {**_MMMU, "id": "validation_Math_2", "options": "[]", "answer": "['2', 'two']", "image_2": None,
                                "question": "What is it?", "question_type": "open"}],
    "olympiadbench-test": [{"id": 1606, "subfield": "Algebra", "question": "Find $x$.", "solution": ["s"],
                            "final_answer": ["$69$,$84$"], "answer_type": "Numerical", "error": None}],
    "openr1-math-train": [_R1],
    "rlfr-dataset-lm-train": [{"problem": "Find $x$.", "answer": "3"}],
    "rlfr-dataset-vlm-train": [{"prompt": "<image>Find x.\nA. 1\nB. 2", "answer": "B", "images": [png()]}],
    "rlfr-dataset-vlm-expert": [{"messages": _CHAT, "images": [png()]}],
    "visulogic-test": [{"id": "00000", "image": png(), "question": "Pick.\nA: A\nB: B\nC: C\nD: D", "label": "A",
                        "tag": "Other"}],
    "wemath-testmini": [{"ID": "2steps_1", "key": "2steps_1", "question": "OA = ( ) m?", "option": "A. 300;B. 400; C. No",
                         "answer": "B", "image_path": png(), "knowledge concept": "Length"}],
}  # fmt: skip
"""By the task's full name."""
