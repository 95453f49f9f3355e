"""docs/gpu.md and the smoke test speak of the real architectures: sizes agree with the known numbers of parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import config
from harness.models.memory import GIB, KNOWN_PARAMETERS, count_parameters
from harness.models.shapes import LLAMA, TEXTS, configuration

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "gpu.md"


@pytest.mark.parametrize("name", sorted({**TEXTS, **LLAMA}))
def test_shapes_are_those_of_the_real_architecture(name: str) -> None:
    assert count_parameters(configuration(name)) == KNOWN_PARAMETERS[name]


def rows() -> dict[str, list[float]]:
    """Recipe -> the numbers of its row in the memory table."""
    found = {}
    for line in GUIDE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in config.recipes():
            found[cells[0]] = [float(cell) for cell in cells[1:]]
    return found


def test_the_memory_table_follows_from_the_parameters() -> None:
    table = rows()
    wanted = {name for name in config.recipes() if config.load(name).model.path in KNOWN_PARAMETERS}
    assert set(table) == wanted
    for name in wanted:
        path = config.load(name).model.path
        weights, gradients, moments, trainer, engine, lora, cache = table[name]
        count = KNOWN_PARAMETERS[path]
        trained = count - (tower(path) if "-VL-" in path else 0)
        assert weights == pytest.approx(4 * count / GIB, abs=0.06)
        assert gradients == pytest.approx(4 * trained / GIB, abs=0.06)
        assert moments == pytest.approx(8 * trained / GIB, abs=0.11)
        assert trainer == pytest.approx(weights + gradients + moments, abs=1)
        assert engine == pytest.approx(2 * count / GIB, abs=0.06)
        assert lora == pytest.approx(4 * count / GIB, abs=0.06)
        if path in TEXTS:
            text = TEXTS[path]
            width = text["hidden"] // text["heads"] * text["kv"]
            assert cache == pytest.approx(2 * 2 * text["layers"] * width * 1000 / GIB, abs=0.001)


def tower(path: str) -> int:
    """Parameters of the vision tower."""
    import torch

    from harness.models.hub import model_class

    made = configuration(path)
    with torch.device("meta"):
        return sum(p.numel() for p in model_class(made).from_config(made).model.visual.parameters())
