"""One hostile input: how it is built, the command that meets it, and what may come of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.worlds import World

Build = Callable[[Path, World], list[str]]
"""Writes the input below a folder, and returns the words of the command, which is run in that folder."""

Look = Callable[[Path, str], None]
"""Asserts that what an accepted input gave is right, from the folder and what the command printed."""


@dataclass(frozen=True)
class Case:
    """An input.

    Attributes:
        name: Group and what is wrong, as "manifests/name is null".
        build: See `Build`.
        accepted: None: it must be refused. Else it may be accepted, and then this must hold.
        torch: Whether the command needs torch.
        environment: Variables that are set besides those of all cases; "{web}" is the address of the server.
    """

    name: str
    build: Build
    accepted: Look | None = None
    torch: bool = False
    environment: tuple[tuple[str, str], ...] = ()


def anything(folder: Path, said: str) -> None:
    """Ask no more of an accepted input than that nothing was executed and nothing else written."""
