"""The options of `bench_loader.py`, the processes of all ways in turn, and what is known of a peer."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from loader_bench.task import PEERS, WAYS, Epoch, Task, peer_of
from sharding.errors import DataError
from sharding.options import option
from sharding.progress import say

_SCRIPTS = Path(__file__).parents[1]
_LAST_LINES = 5
_SHOW_VERSIONS = """
import importlib.metadata, json, {module}
names = ("numpy", "torch", "torchvision", "pillow", "opencv-python-headless", "{package}")
print(json.dumps({{name: importlib.metadata.version(name) for name in names}}))
"""
_PACKAGES = {"webdataset": "webdataset", "litdata": "litdata", "mosaic": "mosaicml-streaming"}


@dataclass(frozen=True, kw_only=True)
class BenchLoaderConfig:
    """Options of the measurement."""

    views: int = option(416, "views of an epoch", metavar="N", least=8)
    height: int = option(768, "height of the views, and side of the square views that are made", metavar="PX", least=16)
    width: int = option(1024, "width of the views", metavar="PX", least=16)
    batch_size: int = option(16, "samples of a batch", metavar="N", least=1)
    num_workers: int = option(2, "loader worker processes", metavar="N", least=0)
    turns: int = option(3, "measured epochs of each loader, in turn", metavar="N", least=1)
    photos: str | None = option(
        None, "folder of photographs to use as images instead of rendered ones", metavar="DIR", path="local"
    )
    peers: str | None = option(
        None, "Python in whose environment litdata and MosaicML streaming run", metavar="PYTHON", path="local"
    )
    folder: str | None = option(
        None, "where the views are kept and found again; default: a temporary folder", metavar="DIR", path="local"
    )

    def task(self, way: str, root: Path) -> Task:
        """Return the task of running a way."""
        return Task(way=way, root=str(root), side=self.height, batch_size=self.batch_size, num_workers=self.num_workers)

    def python(self, way: str) -> str:
        """Return the Python that runs a way."""
        return self.peers if self.peers and peer_of(way) in ("litdata", "mosaic") else sys.executable


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        epochs: Of each way that could run, one a turn.
        parts: CPU milliseconds of the parts of a tutorial's sample.
        image_bytes: See `loader_bench.inputs.image_bytes`.
        peers: Of each peer, the versions it ran with.
        missing: Of each peer that is not installed or failed, why.
    """

    epochs: dict[str, list[Epoch]]
    parts: dict[str, float]
    image_bytes: dict[str, float]
    peers: dict[str, dict[str, str]]
    missing: dict[str, str]


def measure(config: BenchLoaderConfig, root: Path) -> Measured:
    """Make the input below `root`, and run all ways in turn.

    Raises:
        UsageError: There are no photographs.
        DataError: A process failed that is not a peer's.
    """
    from loader_bench.inputs import image_bytes, make_inputs

    make_inputs(root, config.views, config.height, config.width, config.photos)
    versions, missing = _find_peers(config)
    ways = _write(config, root, [way for way in WAYS if peer_of(way) not in missing], missing)
    os.sync()  # otherwise the disk is still writing while the first epochs are timed
    parts = ask(replace(config.task("tutorial", root), does="parts"), sys.executable)
    say("tutorial: " + ", ".join(f"{name} {spent:.1f} ms" for name, spent in parts.items()))
    epochs: dict[str, list[Epoch]] = {way: [] for way in ways}
    for _ in range(config.turns):
        for way, taken in epochs.items():
            taken.append(epoch := Epoch(**ask(config.task(way, root), config.python(way))))
            say(f"{way}: {epoch.rate:.1f} samples/s, {epoch.cpu_ms:.1f} CPU ms")
    return Measured(epochs=epochs, parts=parts, image_bytes=image_bytes(root), peers=versions, missing=missing)


def _find_peers(config: BenchLoaderConfig) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Import each peer where it will run; return versions of those that work, and the reasons of the others."""
    versions, missing = {}, {}
    for name, module in PEERS.items():
        try:
            versions[name] = _run(
                config.python(name), "-c", _SHOW_VERSIONS.format(module=module, package=_PACKAGES[name])
            )
        except DataError as error:
            missing[name] = _reason(error)
            say(f"{name} is left out: {missing[name]}")
    return versions, missing


def _reason(error: DataError) -> str:
    """Return the line of a traceback that says what is wrong: some explain it in further lines."""
    lines = str(error).splitlines()
    return next((line for line in reversed(lines) if "Error: " in line), lines[-1])


def _write(config: BenchLoaderConfig, root: Path, ways: list[str], missing: dict[str, str]) -> list[str]:
    """Have each peer write its files, and return the ways that can run; those of a peer that fails are `missing`."""
    from loader_bench.inputs import make_once

    for way in ways:
        peer = peer_of(way)
        if peer in missing or (peer is None and way != "torch_engine"):
            continue
        try:
            make_once(root / way, partial(_write_as, config.task(way, root), config.python(way)))
        except DataError as error:
            if peer is None:
                raise
            missing[peer] = _reason(error)
            say(f"{peer} is left out: {missing[peer]}")
    return [way for way in ways if peer_of(way) not in missing]


def _write_as(task: Task, python: str, folder: Path) -> None:
    """Have a way write its files to `folder` instead of its own."""
    ask(replace(task, does="write", into=str(folder)), python)


def ask(task: Task, python: str) -> dict[str, Any]:
    """Run a task in a process of its own; return its answer.

    Raises:
        DataError: It failed; the message ends with the last lines that it wrote.
    """
    return _run(python, "-m", "loader_bench.turn", json.dumps(task.__dict__))


def _run(python: str, *arguments: str) -> dict[str, Any]:
    # One thread for torch and OpenMP also in a consumer and in a bare loop, as in loader workers.
    added = {"PYTHONPATH": os.pathsep.join([str(_SCRIPTS), str(_SCRIPTS.parent)]), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run([python, *arguments], env=os.environ | added, capture_output=True, text=True)
    except OSError as error:
        raise DataError(f"{python}: expected a Python that runs: {error}") from error
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise DataError(f"{' '.join(arguments)}: expected exit status 0, found {done.returncode}: {last}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
