"""A set against its source: every source sample is in the set as it would be encoded now, or it is bad."""

from sharding import diode, megadepth
from sharding.candidate import Candidate
from sharding.encode import Recipe, encode
from sharding.errors import DataError, UsageError
from sharding.fault import Fault
from sharding.progress import track
from sharding.sample import PARTS
from sharding.shardset import ShardSet
from sharding.source import FolderSource, fingerprint


def compare_with_source(opened: ShardSet, root: str) -> list[Fault]:
    """Encode each source sample again and compare it with the set.

    Raises:
        UsageError: The set was made from tars, not from a source folder.
        DataError: The folder holds no such data set.
    """
    manifest = opened.manifest
    if manifest.dataset not in ("megadepth", "diode"):
        raise UsageError(f"--against compares sets of megadepth and diode, this one is {manifest.dataset}")
    source = FolderSource(root)
    files = source.list()
    made = manifest.made
    pairing = (
        megadepth.pair(files, made["with_depth"])
        if manifest.dataset == "megadepth"
        else diode.pair(files, made["split"], made["scene_type"])
    )
    faults = (
        []
        if fingerprint(files) == manifest.source["fingerprint"]
        else [
            Fault(
                shard="", key="", problem=f"{root} is not the source this set was made from: its names or sizes differ"
            )
        ]
    )
    recipe = Recipe(
        dataset=manifest.dataset,
        preset=made["preset"],
        check=made.get("check", "header"),
        max_side=made.get("max_side"),
    )
    rows = {key: row for row, key in enumerate(opened.index["key"])}
    for candidate in track(pairing.candidates, total=len(pairing.candidates), unit="samples", label="compare"):
        problem = _difference(opened, source, candidate, recipe, rows.pop(candidate.key, None))
        faults += [Fault(shard="", key=candidate.key, problem=problem)] if problem else []
    return faults + [Fault(shard="", key=key, problem=f"in the set, not in {root}") for key in rows]


def _difference(opened: ShardSet, source: FolderSource, candidate: Candidate, recipe: Recipe, row: int | None) -> str:
    try:
        encoded = encode(source, candidate, recipe)
    except DataError as error:
        return "" if row is None else f"in the set, but its source is bad: {error}"
    if row is None:
        return "in the source, not in the set"
    stored = opened.reader.read_encoded([row], PARTS)[0]
    differing = [part for part, (_, payload) in encoded.parts.items() if part != "meta" and stored.get(part) != payload]
    return f"{' and '.join(differing)} differ from the source" if differing else ""
