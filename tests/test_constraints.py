"""The pinned versions are for every Python that the project takes, not for the one they were tested with."""

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
