"""The values of an arm: means and spreads over its runs, and its cost."""

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from training.evaluation.results import SetInfo
from training.report.comparison import Comparison
from training.report.verdict import Claim

DOCUMENT = Path(__file__).parents[3] / "docs/comparing.md"

RUNS = [
    {"1_a": 0.2, "1_b": 0.4, "2_a": 0.3},
    {"1_a": 0.1, "1_b": 0.3, "2_a": 0.2},
    {"1_a": 0.3, "1_b": 0.3, "2_a": 0.4},
]


@pytest.fixture(scope="module")
def comparison(fabricate_comparison) -> Comparison:
    return fabricate_comparison({"x": RUNS, "y": RUNS[:1]}, {"constant": RUNS[0], "row": RUNS[1]})


def test_the_spread_by_seed_is_that_of_the_mean_log_over_scenes(comparison: Comparison) -> None:
    x, y = comparison.arms
    logs = [(math.log(one) + math.log(two)) / 2 for one, two in ((0.3, 0.3), (0.2, 0.2), (0.3, 0.4))]
    assert x.seed_spread("headline") == pytest.approx(np.std(logs, ddof=1))
    assert y.seed_spread("headline") is None
    assert y.spread("headline") == {}


def test_an_arm_in_json_tells_its_spread_its_cost_and_what_repeats_it(comparison: Comparison) -> None:
    arm = replace(comparison.arms[0], repeats=("copy",))
    found = json.loads(json.dumps(arm.to_json(["headline"])))
    assert found["metrics"]["headline"]["log10"] == pytest.approx(np.mean([0.3, 0.2, 1 / 3]))
    assert found["spread"]["headline"]["log10"] == pytest.approx(np.std([0.3, 0.2, 1 / 3], ddof=1))
    assert found["seed_spread"] == arm.seed_spread("headline")
    assert (found["repeats"], found["device_hours"], len(found["runs"])) == (["copy"], 3.0, 3)


def test_runs_are_alike_by_every_value_of_every_image(comparison: Comparison) -> None:
    first, second, _ = comparison.arms[0].runs
    assert first.values == comparison.arms[1].runs[0].values != second.values


def test_every_field_of_the_json_is_in_its_document_and_no_other(comparison: Comparison) -> None:
    section = DOCUMENT.read_text().partition("## JSON")[2]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", section, re.MULTILINE)
    named = {row: re.findall(r"`([^`]+)`", row) for row, _ in rows}
    told = {
        names[0]: set(re.findall(r"`([^`]+)`", about)) for (_, about), names in zip(rows, named.values(), strict=True)
    }
    found = comparison.to_json()
    assert {re.split(r"\[|\.", name)[0] for names in named.values() for name in names if name[0] != "."} == {
        *found, "report"
    }  # fmt: skip
    assert told["val"] == {one.name for one in fields(SetInfo)}
    assert told["contrasts[]"] == set(found["contrasts"][0])
    assert told["contrasts[].these_scenes"] == {one.name for one in fields(Claim)}
    of_arm = {name.rpartition(".")[2] for names in named.values() if names[0].startswith("arms.") for name in names}
    assert of_arm == set(found["arms"]["x"])
