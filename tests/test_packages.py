"""Names that are installed: a module called `datasets` or `utils` would hide that of somebody else."""

import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {"sharding", "training"}


def test_no_module_of_ours_hides_another():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == [f"{name}*" for name in sorted(PACKAGES)]
    assert not list(ROOT.glob("*.py"))  # which the current folder would put before all packages
    own = project["project"]["name"]
    taken = {name: set(owners) - {own} for name, owners in packages_distributions().items() if name in PACKAGES}
    assert not any(taken.values()), taken
