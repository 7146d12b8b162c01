"""Scenes that are taken out of the training set and validated on.

Views of a scene overlap, so a network that has seen one of them has seen the others: whole scenes are held out.
"""

import re
from collections.abc import Collection, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from sharding.errors import UsageError
from sharding.escaping import shorten
from sharding.limits import MAX_TEXT_CHARS
from sharding.reading.shard_set import ShardSet

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")  # "00007" is the name of a scene
_LISTED = 30  # scenes, at most, in a message


def hold_out(
    samples: ShardSet, blind: NDArray[np.bool_], wish: str, seed: int
) -> tuple[ShardSet, ShardSet, tuple[str, ...]]:
    """Split a set by scenes.

    Args:
        samples: The set, or subset.
        blind: Which of the samples have no valid pixel, bool (N,): scenes of such views alone are not drawn.
        wish: Value of --holdout-scenes: a number of scenes, or their names with commas.
        seed: Of the draw, where the scenes are not named.

    Returns:
        What is left to train on; the held-out samples; and the names of their scenes, sorted. Their conditions
        (`ShardSet.where`) name the scenes, so each subset can be opened again without the draw.

    Raises:
        UsageError: There are no such scenes, or no others would be left; or samples have no scene.
    """
    known, seeing = _scenes_of(samples), samples.rows["scene"][~blind].unique()
    scenes = choose_scenes(known, wish, seed, set(known) - set(seeing))
    listed = f"[{', '.join(map(repr, scenes))}]"
    if len(listed) > MAX_TEXT_CHARS // 2:  # a condition is read from metrics.json as a text of this length
        raise UsageError(
            f"--holdout-scenes {_short(wish)}: the names of {len(scenes)} scenes are longer than {MAX_TEXT_CHARS // 2} "
            "characters together; hold fewer out"
        )
    return samples.narrowed(f"scene not in {listed}"), samples.narrowed(f"scene in {listed}"), scenes


def check_wish(wish: str) -> None:
    """Check all of --holdout-scenes that can be checked without the set.

    Raises:
        UsageError: It is neither a number of scenes from 1 nor a list of names.
    """
    if re.fullmatch(r"0|-[0-9]+", wish.strip()):
        raise UsageError(f"--holdout-scenes {_short(wish)}: expected at least 1 scene; leave it out to hold none out")
    if not _names(wish):
        raise UsageError(f"--holdout-scenes {_short(wish)}: expected a number of scenes, or their names with commas")


def choose_scenes(
    known: Collection[str], wish: str, seed: int, undrawn: Collection[str] = frozenset()
) -> tuple[str, ...]:
    """Choose the scenes to hold out, sorted by name.

    Args:
        known: Names of all scenes.
        wish: A number, written without leading zeros, or names with commas; `7,` is the scene named 7.
        seed: Of the draw.
        undrawn: Scenes without a valid pixel: nothing could be validated on them, or learned of them.

    Raises:
        UsageError: See `hold_out`; or the wish is the number of some scenes and the name of one.
    """
    check_wish(wish)
    meant, possible = meaning_of_wish(wish), sorted(known)
    if isinstance(meant, int):
        if str(meant) in known:
            raise UsageError(
                f"--holdout-scenes {meant}: expected a number of scenes or a name, found what is both: there is a "
                f"scene named {meant}; write {meant}, with a comma for that scene, or name all scenes to hold out"
            )
        possible = [name for name in possible if name not in undrawn]
        chosen = draw_scenes(possible, meant, seed)
    else:
        chosen = meant
    if unknown := [name for name in chosen if name not in known]:
        raise UsageError(
            f"--holdout-scenes: the training set has no scene {_list(unknown)}; it has {_list(sorted(known))}"
        )
    if len(chosen) >= len(possible):
        kind = "scenes with a valid pixel" if len(possible) < len(known) else "scenes"
        raise UsageError(
            f"--holdout-scenes {_short(wish)}: the training set has {len(possible)} {kind}, so none would be left to "
            f"train on; hold at most {len(possible) - 1} of them out: {_list(possible)}"
        )
    return chosen


def meaning_of_wish(wish: str) -> int | tuple[str, ...]:
    """Return what a value of --holdout-scenes asks for, however it is written: a number, or names in order."""
    return int(wish) if _NUMBER.fullmatch(wish.strip()) else tuple(sorted(set(_names(wish))))


def draw_scenes(names: Sequence[str], number: int, seed: int) -> tuple[str, ...]:
    """Draw scenes: the `number` of them for which the SHA-256 of "SEED NAME" is least, sorted by name.

    A function of its arguments alone, whatever the order of the names and the versions of libraries. All subsets of a
    size are equally likely. The scenes that are drawn for a number are among those for a larger number.

    Args:
        names: Names of scenes, each once.
        number: Of scenes to draw, 0 to their number.
        seed: Seed of the run.
    """
    ranked = sorted(names, key=lambda name: sha256(f"{seed} {name}".encode()).digest())
    return tuple(sorted(ranked[:number]))


def _scenes_of(samples: ShardSet) -> list[str]:
    """List the scenes of a set.

    Raises:
        UsageError: Some samples have none.
    """
    scenes = samples.rows["scene"]
    if lacking := int((scenes == "").sum()):
        some = "choose those that have one with --where \"scene != ''\", or " if lacking < len(samples) else ""
        raise UsageError(
            f"--holdout-scenes: {lacking} of {len(samples)} samples of {samples.url} have no scene, so nothing tells "
            f"which of them show the same place; {some}validate on another set with --val"
        )
    return sorted(scenes.unique())


def _names(wish: str) -> list[str]:
    return [name for part in wish.split(",") if (name := part.strip())]


def _list(names: Sequence[str]) -> str:
    rest = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shorten(name, 60) for name in names[:_LISTED]) + rest


def _short(wish: str) -> str:
    return shorten(wish, 60)
