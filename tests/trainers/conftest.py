"""The built-in policies with random weights, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.models import tiny


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("tiny-lm", tmp_path_factory.mktemp("policies") / "tiny-lm")


@pytest.fixture(scope="session")
def tiny_vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("tiny-vl", tmp_path_factory.mktemp("policies") / "tiny-vl")
