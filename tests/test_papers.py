"""What docs/architecture.md says of layers and places is so."""

from __future__ import annotations

import re

from tests.conftest import ROOT
from tests.test_layers import LAYERS

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_the_table_of_layers_is_the_order_that_holds() -> None:
    section = PAGE.split("## Layers")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w/]+)` \|", section, re.MULTILINE)
    assert [row.replace("/", ".") for row in rows] == [prefix for prefixes in LAYERS for prefix in prefixes]


def test_every_place_that_is_named_exists() -> None:
    for name in ("docs/architecture.md", "docs/verifier.md", "CONTRIBUTING.md"):
        for place in re.findall(r"`((?:\w+/)+\w*(?:\.\w+)?)`", (ROOT / name).read_text("utf-8")):
            first = place.split("/")[0]
            if first in ("harness", "rewards", "trainers", "tasks", "leaderboards", "tests", "benchmarks", "docs"):
                assert (ROOT / place).exists(), f"{name} names {place}"


def test_hosted_ci_calls_the_same_script() -> None:
    import yaml

    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]
    assert [s["run"] for s in jobs["ci"]["steps"] if "run" in s] == ["bash .ci/run"]
