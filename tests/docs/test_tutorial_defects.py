"""The document on the tutorial's defects: a row for each, tests that there are, and figures that are computed."""

import ast
import re

import pytest

from tests.docs.documents import ROOT, parse, read_commands
from training.finetuning.memory import StepMemory
from training.model.cost import compute_cost
from training.pretraining.call import make_transform_args

TEXT = (ROOT / "docs/tutorial-defects.md").read_text()
TEST = r"`(tests/[\w/]+\.py)::(?:\w+::)?(\w+)`"
NAMED = re.findall(TEST, TEXT)


def section(number):
    """The text below the heading that begins with a number."""
    return re.search(rf"(?ms)^## {number}\. .*?(?=^## |\Z)", TEXT)[0]


def test_there_is_a_row_for_each_of_the_37_defects_with_a_test():
    rows = re.findall(r"(?m)^\| (\d+) \| (.*) \|$", TEXT)
    assert [int(number) for number, _ in rows] == list(range(1, 38))
    for number, row in rows:
        *said, tests = row.split(" | ")
        assert len(said) == 2, number
        assert re.fullmatch(f"{TEST}(, {TEST})*", tests), number


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_is_named_exists(file):
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    found = {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert {name for of, name in NAMED if of == file} <= found


def test_every_section_that_a_row_refers_to_exists():
    headings = re.findall(r"(?m)^## (.*)$", TEXT)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) == anchors


def test_the_four_pretrainings_are_the_two_factors_crossed():
    args = [make_transform_args(parse(words)) for words in read_commands(section(5))]
    found = {(one["random_flip"]["vertical_prob"], one["random_rotation"]["degrees"]) for one in args}
    assert len(args) == 4
    assert found == {(flip, degrees) for flip in (0.0, 0.5) for degrees in (15, 90)}


def test_the_table_of_memory_is_what_is_computed():
    rows = re.findall(r"(?m)^\| .* \| ([\d.]+) \| (\d+) \| (\d+) \| (\d+) \|$", section(32))
    ways = [(precision, recompute) for precision in ("32-true", "bf16-mixed") for recompute in (False, True)]
    for (precision, recompute), row in zip(ways, rows, strict=True):
        cost = compute_cost("resnet50", 768, 768, precision, recompute)
        needs = [StepMemory.estimate(cost, world) for world in (1, 4, 1)]
        fitting = [need.fitting(card * 10**9) for need, card in zip(needs, (24, 24, 80), strict=True)]
        assert row == (f"{needs[0].sample / 1e9:.2f}", *map(str, fitting))
    plain = compute_cost("resnet50", 768, 768, "32-true", False)
    assert (
        f"keeps {plain.kept_bytes / 768**2:,.0f} bytes a pixel in float32: {32 * plain.sample_bytes / 1e9:.0f} GB"
        in TEXT
    )
