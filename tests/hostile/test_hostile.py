"""No input that somebody hands over is executed, hangs, crashes, takes the memory, or is silently wrong.

Each is met by the command that a user would give it to, in a process of its own. It is refused in one clear line, or
accepted with the right result; nothing is executed and nothing is written outside. A part of the inputs is in the
default suite; all of them are `slow`.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.hostile import archives, files, foreign_tars, frames, indexes, manifests, options, runs, wheres
from tests.hostile.case import Case
from tests.hostile.confined import PLAIN_MIB, TORCH_MIB, Ended, Variables, find_faults
from tests.hostile.launcher import Launcher
from tests.hostile.worlds import CANARY, World

MODULES = (archives, files, foreign_tars, frames, indexes, manifests, options, wheres)
CASES = [case for module in MODULES for case in module.CASES]
EVERY = 83
"""One of so many is in the default suite."""

SECRETS = ("SECRET", "hostile-secret")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The sound inputs."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def plain() -> Iterator[Launcher]:
    """What runs commands without torch."""
    launcher = Launcher("plain")
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def imported() -> Iterator[Launcher]:
    """What runs commands with torch."""
    launcher = Launcher("torch")
    yield launcher
    launcher.close()


Run = Callable[[Sequence[str], Path, Variables], Ended]


def meet(case: Case, world: World, place: Path, run: Run) -> None:
    """Build an input, run the command on it, and assert what may come of it."""
    folder = place / "a" / "b" / "here"  # deep, so that "../../../x" is in the place as well
    folder.mkdir(parents=True)
    words = case.build(folder, world)
    before = sorted(_outside(place))
    ended = run(words, folder, [(name, value.replace("{web}", world.web.address)) for name, value in case.environment])
    said = f"{' '.join(words)[:300]}\nstatus {ended.status}\n{ended.err[-3000:]}{ended.out[-1000:]}"
    assert find_faults(ended, TORCH_MIB if case.torch else PLAIN_MIB) == [], said
    assert not [path for path in (world.canary, *place.rglob(f"{CANARY}*")) if path.exists()], f"executed: {said}"
    assert sorted(_outside(place)) == before, f"written outside: {said}"
    assert not [secret for secret in SECRETS if secret in ended.out + ended.err], f"a secret: {said}"
    if ended.status == 0:
        assert case.accepted is not None, f"expected it to be refused: {said}"
        case.accepted(folder, ended.out + ended.err)
    if ended.status == 0 and words[0] == "index":
        _verify(folder, run)
    shutil.rmtree(folder, ignore_errors=True)  # some hold hundreds of MB; of what failed they are kept


def _outside(place: Path) -> Iterator[Path]:
    """What is outside the folder of the command, but for its output."""
    for parent, folders, names in os.walk(place):
        folders[:] = [name for name in folders if name != "here"]
        yield from (Path(parent, name) for name in (*folders, *names) if name not in ("stdout", "stderr"))


def _verify(folder: Path, run: Run) -> None:
    """Verify the set that `index` made of a foreign tar."""
    ended = run(["verify", "made"], folder, ())
    assert find_faults(ended, PLAIN_MIB) == [], ended.err
    assert ended.status == 0, f"made, but not whole: {ended.err}{ended.out}"


def test_there_are_enough_inputs() -> None:
    groups = {
        name: len(list(cases))
        for name, cases in itertools.groupby(
            sorted(c.name for c in CASES + runs.CASES), lambda name: name.partition("/")[0]
        )
    }
    assert len(groups) == 16, groups
    assert min(groups.values()) >= 10, groups
    assert len({case.name for case in CASES + runs.CASES}) == len(CASES + runs.CASES) >= 400


@pytest.mark.parametrize("case", CASES[::EVERY], ids=lambda case: case.name)
def test_some_hostile_inputs(case: Case, world: World, plain: Launcher, tmp_path: Path) -> None:
    meet(case, world, tmp_path, plain.run)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for n, case in enumerate(CASES) if n % EVERY], ids=lambda case: case.name)
def test_hostile_inputs(case: Case, world: World, plain: Launcher, tmp_path: Path) -> None:
    meet(case, world, tmp_path, plain.run)


@pytest.mark.slow
@pytest.mark.parametrize("case", runs.CASES, ids=lambda case: case.name)
def test_hostile_runs(case: Case, world: World, imported: Launcher, tmp_path: Path) -> None:
    meet(case, world, tmp_path, imported.run)


def test_memory_of_the_tests_is_not_that_of_a_command(plain: Launcher, tmp_path: Path) -> None:
    filler = bytearray(700 << 20)
    filler[::4096] = b"x" * len(filler[::4096])
    assert plain.run(["--version"], tmp_path).mib < 100
    del filler
