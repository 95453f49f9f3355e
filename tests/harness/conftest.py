"""Built-in policies, built once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.models import loading, tiny


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("RLFR_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the built-in policies by name."""
    root = tmp_path_factory.mktemp("policies")
    return {name: tiny.build(name, root / name) for name in tiny.NAMES}


def _loaded(folder: Path, cache: Path) -> Iterator[loading.Loaded]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLFR_EVAL_CACHE", str(cache))
        yield loading.load(folder)


@pytest.fixture(scope="session")
def tiny_lm(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[loading.Loaded]:
    """The loaded text policy; tests must not change its weights."""
    yield from _loaded(tiny_folders["tiny-lm"], tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_vl(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[loading.Loaded]:
    """The loaded vision-language policy; tests must not change its weights."""
    yield from _loaded(tiny_folders["tiny-vl"], tmp_path_factory.mktemp("cache"))
