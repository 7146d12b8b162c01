"""The table of layers in CONTRIBUTING.md is that of the contracts in pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def contracted(package: str) -> list[set[str]]:
    """Return the rooms of each layer that has some, from the top; single modules are left out."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == [package])
    rooms = [{name for name in re.findall(r"\w+", layer) if (ROOT / package / name).is_dir()} for layer in layers]
    return [layer for layer in rooms if layer]


def written(package: str) -> list[set[str]]:
    """Return the rooms of each line of the table; a line that is further indented goes on with the one above."""
    head, *lines = re.search(r"```\n(sharding +training\n.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)[
        1
    ].splitlines()
    middle = head.index("training")
    found: list[set[str]] = []
    for line in lines:
        column = line[:middle] if package == "sharding" else line[middle:]
        names = set(re.findall(r"\w+", column))
        if column.startswith("    ") and names:
            found[-1] |= names
        elif names:
            found.append(names)
    return found


@pytest.mark.parametrize("package", ["sharding", "training"])
def test_the_table_of_layers_is_that_of_the_contracts(package: str) -> None:
    assert written(package) == contracted(package)
