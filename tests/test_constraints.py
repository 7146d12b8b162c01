"""The pinned versions are for every Python that the project takes, not for the one they were tested with."""

import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

FILE = Path(__file__).parents[1] / "constraints.txt"


def pinned() -> dict[str, SpecifierSet]:
    """Return the pinned version of each package. Those of other platforms are among them, and not installed here."""
    lines = [Requirement(line) for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(line.name): line.specifier for line in lines}


def test_what_is_pinned_installs_on_the_first_python_3_11() -> None:
    pins = pinned()
    installed = {canonicalize_name(each.metadata["Name"]): each for each in distributions()}
    same = [each for name, each in installed.items() if name in pins and pins[name].contains(each.version)]
    asks = {each.metadata["Name"]: each.metadata.get("Requires-Python") or "" for each in same}
    assert len(asks) > 100, f"{len(asks)} packages have the version of constraints.txt: make clean install"
    assert {name: ask for name, ask in asks.items() if not SpecifierSet(ask).contains("3.11.0")} == {}


def wanted() -> list[Requirement]:
    """Return the packages that pyproject.toml asks for, with the bounds of their versions."""
    project = tomllib.loads((FILE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    extras.pop("bench")  # for an environment of its own: one of its packages wants an older numpy than is pinned
    lines = [Requirement(line) for lines in (project["dependencies"], *extras.values()) for line in lines]
    return [line for line in lines if line.name != project["name"]]


def test_what_is_bounded_is_pinned_within_its_bounds() -> None:
    pins = {name: next(iter(spec)).version for name, spec in pinned().items()}
    asked = {canonicalize_name(line.name): line.specifier for line in wanted()}
    assert {name: str(spec) for name, spec in asked.items() if not spec.contains(pins[name])} == {}
    # LightlyTrain renames its doors, fastai and Lightning are relied on beyond theirs: the next release is not taken.
    for name, following in {"lightly-train": "0.19.0", "fastai": "2.9.0", "pytorch-lightning": "2.7.0"}.items():
        assert not asked[name].contains(following)
