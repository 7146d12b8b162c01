"""The commands `shard megadepth` and `shard diode`: from options and a source folder to a plan, then to a set.

What encodes is imported only when there is something to do, so that a finished set is recognised at once.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sharding import diode, megadepth
from sharding.address import is_remote
from sharding.candidate import Pairing
from sharding.command import Outcome
from sharding.config import ShardConfig, ShardDiodeConfig, ShardMegadepthConfig
from sharding.ctrlc import deaf_to_ctrl_c
from sharding.errors import UsageError
from sharding.manifest import MANIFEST_NAME, Manifest
from sharding.progress import say
from sharding.source import FolderSource, SourceFile, fingerprint
from sharding.target import LEDGER_NAME, QUARANTINE_NAME, alone, writing
from sharding.terms import differences, package_version, terms


def shard_megadepth(config: ShardMegadepthConfig) -> Outcome:
    """Run `depthstream shard megadepth`."""
    files = FolderSource(config.source).list()
    options = {"with_depth": config.with_depth, "max_side": config.max_side}
    return _create(config, "megadepth", files, lambda: megadepth.pair(files, config.with_depth), options)


def shard_diode(config: ShardDiodeConfig) -> Outcome:
    """Run `depthstream shard diode`."""
    files = FolderSource(config.source).list()
    options = {"split": config.split, "scene_type": config.scene_type}
    return _create(config, "diode", files, lambda: diode.pair(files, config.split, config.scene_type), options)


def _create(
    config: ShardConfig, dataset: str, files: list[SourceFile], pair: Callable[[], Pairing], options: dict[str, Any]
) -> Outcome:
    """Make the set, or go on with it, or see that it is finished; `options` are those of its data set alone."""
    if is_remote(config.set):
        raise UsageError(f"{config.set}: sets are written to a folder; copy the finished folder to the store")
    made = options | {
        "preset": config.preset,
        "check": config.check,  # decides which samples are refused
        "compression": config.compression,
        "shard_bytes": config.shard_size,
        "seed": config.seed,
        "order": "shuffled over the whole set",
    }
    source = {"files": len(files), "bytes": sum(file.bytes for file in files), "fingerprint": fingerprint(files)}
    target = Path(config.set)
    pairing = None if (target / MANIFEST_NAME).exists() else pair()
    with writing(target), alone(target):
        manifest = _existing(target, terms(dataset, made, source))
        if manifest is None:
            pairing = pairing or pair()
            manifest = _make(config, dataset, pairing, made, source)
        else:
            say(f"{config.set}: is finished and up to date; nothing to do")
        if (target / LEDGER_NAME).exists():  # also if a run was killed after its manifest
            shutil.rmtree(target / LEDGER_NAME)
    return _outcome(config, pairing, manifest)


def _make(
    config: ShardConfig, dataset: str, pairing: Pairing, made: dict[str, Any], source: dict[str, Any]
) -> Manifest:
    with deaf_to_ctrl_c():  # libraries that are half imported may crash when the process ends
        from sharding.build import build_set
        from sharding.encode import Recipe
        from sharding.plan import SetPlan, plan_shards

    split = str(made.get("split", ""))
    plan = SetPlan(
        root=config.source,
        target=Path(config.set),
        name="-".join(filter(None, (dataset, split))),
        recipe=Recipe(dataset=dataset, preset=config.preset, check=config.check, max_side=made.get("max_side")),
        compression=config.compression,
        shards=plan_shards(pairing.candidates, config.shard_size, config.seed),
        refused=pairing.refused,
        header={"split": split, "made": made, "source": source, "tool": tool_version()},
    )
    return build_set(plan, config.workers, config.allow_bad)


def tool_version() -> str:
    """The program's version, as manifests record it."""
    return f"depthstream {package_version('depthstream')}"


def _existing(target: Path, wanted: dict[str, Any]) -> Manifest | None:
    """The manifest of the same set, if it is finished.

    Raises:
        UsageError: There is a finished set of another source or made with other options.
    """
    path = target / MANIFEST_NAME
    if not path.exists():
        return None
    manifest = Manifest.decode(path.read_bytes(), str(path))
    if differing := differences(terms(manifest.dataset, manifest.made, manifest.source), wanted):
        raise UsageError(
            f"{target} holds another set: {'; '.join(differing)}; choose another folder, or delete that one"
        )
    return manifest


def _outcome(config: ShardConfig, pairing: Pairing | None, manifest: Manifest) -> Outcome:
    """What to tell; a set that was finished already is not paired again."""
    data = {
        "set": config.set,
        "name": manifest.name,
        "samples": manifest.samples,
        "shards": len(manifest.shards),
        "bytes": manifest.num_bytes,
        "quarantined": manifest.quarantined,
        "codecs": manifest.codecs,
        "identity": manifest.identity,
    }
    skipped = {} if pairing is None else {"skipped": dict(pairing.skipped)}
    lines = [
        f"{config.set}: {manifest.samples} samples in {len(manifest.shards)} shards, "
        f"{manifest.num_bytes / 1e6:.1f} MB, identity {manifest.identity[:12]}"
    ]
    if manifest.quarantined:
        lines.append(f"  {manifest.quarantined} in quarantine, see {Path(config.set) / QUARANTINE_NAME}")
    for counts in skipped.values():
        lines += [f"  skipped {count} files: {reason}" for reason, count in sorted(counts.items())]
    return Outcome(data=data | skipped, text="\n".join(lines))
