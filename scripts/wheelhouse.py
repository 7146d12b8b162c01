"""Collect the wheels that a machine without network lacks: the pinned versions, and Depthstream itself.

    python scripts/wheelhouse.py DIR [--python-version 3.12] [--lacking NAME ...]      (or: make wheelhouse DIR=...)

Run it on a machine with network and the same kind of processor and system. docs/offline.md tells how to install.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.errors import DataError, UsageError
from sharding.options import argument, option
from sharding.progress import say

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
SOURCE_ONLY = ("antlr4-python3-runtime",)
"""Packages without wheels, which pip cannot download for another Python: pure ones, whose wheel is built here."""

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@dataclass(frozen=True, kw_only=True)
class WheelhouseConfig:
    """Options of `scripts/wheelhouse.py`."""

    folder: str = argument("folder for the wheels", metavar="DIR")
    python_version: str = option("", "Python of the machine without network, such as 3.12 (default: this one)")
    lacking: tuple[str, ...] = option(
        (), "packages that the machine lacks, without what they need (default: everything)", metavar="NAME"
    )


def run(config: WheelhouseConfig) -> Outcome:
    """Collect the wheels.

    Raises:
        UsageError: A version or a name is unknown.
        DataError: pip failed.
    """
    pins, folder = read_pins(CONSTRAINTS.read_text()), Path(config.folder)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    version = config.python_version or here
    if not version.replace(".", "", 1).isdecimal() or version.count(".") != 1:
        raise UsageError(f"--python-version {version}: expected two numbers, such as 3.12")
    if unknown := [name for name in config.lacking if normalized(name) not in pins]:
        raise UsageError(f"--lacking {unknown[0]}: constraints.txt has no such package")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("depthstream-*.whl"):
        old.unlink()  # of an earlier state of this checkout, perhaps with the same version
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    wanted = [f"{normalized(name)}=={pins[normalized(name)]}" for name in config.lacking]
    if version == here:
        _collect_here(folder, wanted)
    else:
        _collect_for(version, folder, wanted, pins)
    wheels = sorted(path.name for path in folder.glob("*.whl"))
    size = sum((folder / name).stat().st_size for name in wheels)
    data = {"folder": config.folder, "python": version, "wheels": wheels, "bytes": size}
    return Outcome(data=data, text=f"{config.folder}: {len(wheels)} wheels for Python {version}, {size / 1e6:.1f} MB")


def read_pins(text: str) -> dict[str, str]:
    """Read `NAME==VERSION` lines; names as `normalized` writes them."""
    lines = [line.partition("==") for line in text.splitlines() if "==" in line and not line.startswith("#")]
    return {normalized(name.strip()): version.strip() for name, _, version in lines}


def normalized(name: str) -> str:
    """Return the one spelling of a package's name: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _collect_here(folder: Path, wanted: Sequence[str]) -> None:
    """Collect, and build where there is no wheel, for the running Python."""
    what = ["--no-deps", *wanted] if wanted else ["--constraint", str(CONSTRAINTS), f"{ROOT}[train]"]
    _pip("wheel", "--wheel-dir", str(folder), *what)


def _collect_for(version: str, folder: Path, wanted: Sequence[str], pins: dict[str, str]) -> None:
    """Collect for another Python; pip then takes wheels only."""
    for name in SOURCE_ONLY:
        if not wanted or f"{name}=={pins[name]}" in wanted:
            _pip("wheel", "--no-deps", "--wheel-dir", str(folder), f"{name}=={pins[name]}")
    others = [one for one in wanted if one.partition("==")[0] not in SOURCE_ONLY]
    if wanted and not others:
        return
    what = ["--no-deps", *others] if wanted else ["--constraint", str(CONSTRAINTS), "depthstream[train]"]
    places = ("--dest", str(folder), "--find-links", str(folder))
    _pip("download", "--only-binary=:all:", "--python-version", version, *places, *what)


def _pip(*words: str) -> None:
    say(f"pip {' '.join(words)}")
    done = subprocess.run([*PIP, *words], stdout=sys.stderr)
    if done.returncode:
        raise DataError(f"pip {words[0]}: expected exit status 0, found {done.returncode}; its own message is above")


COMMAND = Command(
    name="scripts/wheelhouse.py",
    config=WheelhouseConfig,
    runner=f"{__name__}:run",
    help="collect the wheels that a machine without network lacks",
    examples=(
        "scripts/wheelhouse.py wheels",
        "scripts/wheelhouse.py wheels --python-version 3.12 --lacking lightly-train lightly fastai",
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
