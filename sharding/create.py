"""The commands `shard megadepth` and `shard diode`: from options and a source folder to a plan, then to a set."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sharding import diode, megadepth
from sharding.address import is_remote
from sharding.build import QUARANTINE_NAME, SetPlan, build_set
from sharding.candidate import Pairing
from sharding.command import Outcome
from sharding.config import ShardConfig, ShardDiodeConfig, ShardMegadepthConfig
from sharding.encode import Recipe
from sharding.errors import UsageError
from sharding.manifest import MANIFEST_NAME, Manifest
from sharding.plan import plan_shards
from sharding.progress import say
from sharding.shardset import read_manifest
from sharding.source import FolderSource, SourceFile, fingerprint
from sharding.store import LocalStore


def shard_megadepth(config: ShardMegadepthConfig) -> Outcome:
    """Run `depthstream shard megadepth`."""
    files = FolderSource(config.source).list()
    pairing = megadepth.pair(files, config.with_depth)
    made = {"with_depth": config.with_depth, "max_side": config.max_side}
    return _create(
        config, files, pairing, Recipe(dataset="megadepth", preset=config.preset, max_side=config.max_side), made
    )


def shard_diode(config: ShardDiodeConfig) -> Outcome:
    """Run `depthstream shard diode`."""
    files = FolderSource(config.source).list()
    pairing = diode.pair(files, config.split, config.scene_type)
    made = {"split": config.split, "scene_type": config.scene_type}
    return _create(config, files, pairing, Recipe(dataset="diode", preset=config.preset), made)


def _create(
    config: ShardConfig, files: list[SourceFile], pairing: Pairing, recipe: Recipe, made: dict[str, Any]
) -> Outcome:
    if is_remote(config.set):
        raise UsageError(f"{config.set}: sets are written to a folder; copy the finished folder to the store")
    plan = _plan(config, files, pairing, recipe, made)
    if (existing := _existing(plan)) is not None:
        say(f"{config.set}: is finished and up to date; nothing to do")
        return _outcome(config, pairing, existing)
    return _outcome(config, pairing, build_set(plan, config.workers, config.allow_bad))


def _plan(
    config: ShardConfig, files: list[SourceFile], pairing: Pairing, recipe: Recipe, made: dict[str, Any]
) -> SetPlan:
    split = str(made.get("split", ""))
    made = made | {
        "preset": config.preset,
        "compression": config.compression,
        "shard_bytes": config.shard_size,
        "seed": config.seed,
        "order": "shuffled over the whole set",
    }
    source = {"files": len(files), "bytes": sum(file.bytes for file in files), "fingerprint": fingerprint(files)}
    return SetPlan(
        root=config.source,
        target=Path(config.set),
        name="-".join(filter(None, (recipe.dataset, split))),
        recipe=recipe,
        compression=config.compression,
        shards=plan_shards(pairing.candidates, config.shard_size, config.seed),
        refused=pairing.refused,
        header={"split": split, "made": made, "source": source, "tool": tool_version()},
    )


def tool_version() -> str:
    """The program's version, as manifests record it."""
    try:
        return f"depthstream {version('depthstream')}"
    except PackageNotFoundError:
        return "depthstream (not installed)"


def _existing(plan: SetPlan) -> Manifest | None:
    """The manifest of the same set, if it is finished.

    Raises:
        UsageError: There is a finished set of another source or made with other options.
    """
    if not (plan.target / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(LocalStore(plan.target), str(plan.target))
    old = manifest.made | {"source": manifest.source["fingerprint"], "dataset": manifest.dataset}
    new = plan.header["made"] | {"source": plan.header["source"]["fingerprint"], "dataset": plan.recipe.dataset}
    if differing := [
        f"{name} is {old.get(name)!r} there, {new.get(name)!r} now" for name in new if old.get(name) != new.get(name)
    ]:
        raise UsageError(
            f"{plan.target} holds another set: {'; '.join(differing)}; choose another folder, or delete that one"
        )
    return manifest


def _outcome(config: ShardConfig, pairing: Pairing, manifest: Manifest) -> Outcome:
    data = {
        "set": config.set,
        "name": manifest.name,
        "samples": manifest.samples,
        "shards": len(manifest.shards),
        "bytes": manifest.num_bytes,
        "quarantined": manifest.quarantined,
        "skipped": dict(pairing.skipped),
        "codecs": manifest.codecs,
        "identity": manifest.identity,
    }
    lines = [
        f"{config.set}: {manifest.samples} samples in {len(manifest.shards)} shards, "
        f"{manifest.num_bytes / 1e6:.1f} MB, identity {manifest.identity[:12]}"
    ]
    if manifest.quarantined:
        lines.append(f"  {manifest.quarantined} in quarantine, see {Path(config.set) / QUARANTINE_NAME}")
    lines += [f"  skipped {count} files: {reason}" for reason, count in sorted(pairing.skipped.items())]
    return Outcome(data=data, text="\n".join(lines))
