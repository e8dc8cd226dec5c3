"""Nothing is chosen by looking at test text: variants are compared, and searches judged, on the tuning split."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "config/studies").glob("*.yaml"))
PUBLISHED = {"sparsellm-figure3"}
"""Figures of a paper that show variants on test text; nothing here follows them."""
NAMED = {"dense_fit_polished"}
"""Presets that stand for a method of their own, and whose numbers were chosen on the tuning split."""
SUITES = yaml.safe_load((ROOT / "config/catalog/suites.yaml").read_text())


def variants(config: dict[str, Any], study: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The methods of a study that are variants of its own config file, with the suites that measure them."""
    entries = config.get("methods", {}).items()
    named = {name for name, entry in entries if entry.get("params") or entry.get("preset")} - NAMED
    for row in study["grid"]:
        axes = {**study.get("defaults", {}), **row}
        methods = axes.get("method", [])
        for method in named & {methods} if isinstance(methods, str) else named & {*methods}:
            yield method, axes.get("suites", study["suites"])


def on_test_text(suites: list[str]) -> list[str]:
    """The suites that do not measure on the tuning split."""
    return [name for name in suites if SUITES[name].get("params", {}).get("split", "test") != "tuning"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_variants_of_a_method_are_measured_on_the_tuning_split(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    for name, study in config["studies"].items():
        if path.stem in PUBLISHED:
            pytest.skip("a figure of a paper")
        for method, suites in variants(config, study):
            assert not on_test_text(suites), f"{path.name}: {name} compares {method} on test text"


def test_a_variant_on_test_text_would_be_seen() -> None:
    entries = ({"method": "wanda", "params": {"a": 1}}, {"method": "sparsegpt", "preset": "released"})
    for entry, (suite, hits) in itertools.product(entries, (("ppl", ["ppl"]), ("ppl_tuning", []))):
        config = {"methods": {"variant": entry}}
        study = {"suites": [suite], "grid": [{"method": "dense"}, {"method": ["wanda", "variant"]}]}
        assert [on_test_text(suites) for _, suites in variants(config, study)] == [hits]


@pytest.mark.parametrize("folder", ["methods", "allocators", "search", "formulas", "engine", "dsa", "training"])
def test_no_code_that_chooses_reads_the_test_split(folder: str) -> None:
    package = ROOT / "workflow/prunebench"
    stages = [package / f"stages/{name}.py" for name in ("prune", "allocate", "calibrate", "search_allocation")]
    for file in [*(package / folder).rglob("*.py"), *stages]:
        assert not re.search(r"""["']test["']""", file.read_text()), file.name
