"""The commands `shard megadepth` and `shard diode`: from options and a source to a plan, then to a set.

Encoders are imported only when there is something to do, so that a finished set is recognised at once.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from sharding.cli import Outcome
from sharding.config import ShardConfig, ShardDiodeConfig, ShardMegadepthConfig
from sharding.errors import DataError, UsageError
from sharding.format.choices import ENCODINGS, JPEG_QUALITY, JPEG_SUBSAMPLING, makes_jpeg
from sharding.format.index import INDEX_NAME
from sharding.format.manifest import MANIFEST_NAME, Manifest
from sharding.format.names import LEDGER_NAME, QUARANTINE_NAME, WAITING_NAME
from sharding.format.tool import tool_version
from sharding.machine.signals import hold_signals
from sharding.making.check import check_jpeg_options
from sharding.making.same_set import differences, terms
from sharding.making.source_list import explain_source
from sharding.making.target import SetTarget, open_target, writing
from sharding.progress import say
from sharding.sources import diode, megadepth
from sharding.sources.folder import FolderSource, fingerprint
from sharding.sources.layout import Layout
from sharding.sources.pairing import Pairing
from sharding.sources.source import SourceFile, is_archive
from sharding.stores.address import is_remote, shown


def shard_megadepth(config: ShardMegadepthConfig) -> Outcome:
    """Run `depthstream shard megadepth`."""
    options = {"with_depth": config.with_depth, "max_side": config.max_side}
    return _create(config, "megadepth", megadepth.layout(config.with_depth), options)


def shard_diode(config: ShardDiodeConfig) -> Outcome:
    """Run `depthstream shard diode`."""
    options = {"split": config.split, "scene_type": config.scene_type}
    return _create(config, "diode", diode.layout(config.split, config.scene_type), options)


def _create(config: ShardConfig, dataset: str, layout: Layout, options: dict[str, Any]) -> Outcome:
    """Make the set, or resume it, unless it is finished; `options` are those of its data set alone."""
    check_jpeg_options(config)
    made = options | {
        "preset": config.preset,
        "encodings": ENCODINGS,
        "check": config.check,  # decides which samples are refused
        "compression": config.compression,
        "shard_bytes": config.shard_size,
    }
    if makes_jpeg(made):  # the manifests of other sets stay as they were before there was a choice
        quality, subsampling = config.jpeg_quality, config.jpeg_subsampling
        made["jpeg_quality"] = JPEG_QUALITY if quality is None else quality
        made["jpeg_subsampling"] = JPEG_SUBSAMPLING if subsampling is None else subsampling
    create = _from_archive if is_archive(config.source) else _from_folder
    return _outcome(config, create(config, dataset, layout, made, open_target(config.set)))


def _from_folder(
    config: ShardConfig, dataset: str, layout: Layout, made: dict[str, Any], target: SetTarget
) -> Manifest:
    listed = FolderSource(config.source, without=None if is_remote(config.set) else target.address).list()
    files = layout.wanted(listed)
    made |= {"seed": config.seed, "order": "shuffled over the whole set"}
    source = _facts(files)
    finished = target.read(MANIFEST_NAME) is not None
    pairing = None if finished else layout.pair(listed)  # fails before the folder is made, if it is the wrong source

    def make() -> Manifest:
        common = _plan(config, dataset, made, target)
        return _build_from_folder(config, pairing or layout.pair(listed), files, source, common)

    def explain() -> str:
        return explain_source(target, layout.pair(listed))

    # Earlier versions counted all files of the folder: their finished sets are recognised by that.
    wanted = [terms(dataset, made, facts) for facts in (source, _facts(listed))]
    return _make_once(target, wanted, make, explain)


def _facts(files: Sequence[SourceFile]) -> dict[str, Any]:
    return {"files": len(files), "bytes": sum(file.bytes for file in files), "fingerprint": fingerprint(files)}


def _build_from_folder(
    config: ShardConfig, pairing: Pairing, files: list[SourceFile], source: dict[str, Any], common: dict[str, Any]
) -> Manifest:
    with hold_signals():  # half-imported compiled libraries may crash when the process ends
        from sharding.making.from_folder import build_from_folder
        from sharding.making.plan import FolderPlan, plan_shards

    plan = FolderPlan(
        root=config.source,
        files=files,
        shards=plan_shards(pairing.candidates, config.shard_size, config.seed),
        refused=pairing.refused,
        source=source | {"skipped": dict(pairing.skipped)},
        **common,
    )
    return build_from_folder(plan, config.workers, config.allow_bad)


def _from_archive(
    config: ShardConfig, dataset: str, layout: Layout, made: dict[str, Any], target: SetTarget
) -> Manifest:
    from sharding.archives.fingerprint import take_fingerprint
    from sharding.archives.url_source import open_source

    made |= {"order": "as in the archive"}
    with closing(open_source(config.source)) as source:
        found = take_fingerprint(source, config.source)

        def make() -> Manifest:
            with hold_signals():
                from sharding.making.from_archive import build_from_archive
                from sharding.making.plan import ArchivePlan

            common = _plan(config, dataset, made, target)
            plan = ArchivePlan(layout=layout, shard_bytes=config.shard_size, **common)
            return build_from_archive(plan, source, found, config.workers, config.allow_bad)

        return _make_once(target, [terms(dataset, made, {"bytes": found.bytes, "fingerprint": found.whole})], make)


def _plan(config: ShardConfig, dataset: str, made: dict[str, Any], target: SetTarget) -> dict[str, Any]:
    """Return the fields that plans for folders and archives have in common."""
    from sharding.making.encode import Recipe

    return {
        "target": target,
        "name": "-".join(filter(None, (dataset, str(made.get("split", ""))))),
        "recipe": Recipe.of(dataset, made),
        "compression": config.compression,
        "made": made,
        "tool": tool_version(),
    }


def _make_once(
    target: SetTarget, wanted: Sequence[dict[str, Any]], make: Callable[[], Manifest], explain: Callable[[], str] = str
) -> Manifest:
    """Make the set unless it is finished; one run at a time.

    Args:
        target: Where it is made.
        wanted: Its terms; a finished set may have any of them.
        make: Makes it.
        explain: Names the first file of another source.
    """
    with writing(target.address):
        manifest = _existing(target, wanted, explain)
        if manifest is None or any(target.names(folder) for folder in (LEDGER_NAME, WAITING_NAME)):
            with target.alone():
                manifest = _existing(target, wanted, explain)
                made = manifest or make()
                target.clean(LEDGER_NAME)  # also of a run that was killed after it wrote the manifest
    if manifest is None:
        return made
    _check_there(target, manifest)  # it takes no more than the right to read
    say(f"{target.address}: is finished and up to date; nothing to do")
    return manifest


def _check_there(target: SetTarget, manifest: Manifest) -> None:
    """Check that all files of a finished set are there; `verify` reads them.

    Raises:
        DataError: One is not.
    """
    there = {*target.names(""), *(f"shards/{name}" for name in target.names("shards"))}
    if missing := [name for name in (INDEX_NAME, *(shard.name for shard in manifest.shards)) if name not in there]:
        raise DataError(
            f"{target.address}: the set was finished, and {missing[0]} is missing: get a whole copy of it, or delete "
            f"{MANIFEST_NAME} and all other files there, and make it again"
        )


def _existing(target: SetTarget, wanted: Sequence[dict[str, Any]], explain: Callable[[], str]) -> Manifest | None:
    """Read the manifest if the same set is finished there; None if it is not.

    Raises:
        UsageError: A finished set of another source, or made with other options, is there.
    """
    content = target.read(MANIFEST_NAME)
    if content is None:
        return None
    manifest = Manifest.decode(content, f"{target.address}/{MANIFEST_NAME}")
    found = terms(manifest.dataset, manifest.made, manifest.source)
    if all(differences(found, one) for one in wanted):
        differing = differences(found, wanted[0])
        if "source" in differing and (first := explain()):
            differing["source"] += f", where {first}"
        raise UsageError(
            f"{target.address} holds another set: {'; '.join(differing.values())}; choose another folder, or delete "
            "that one"
        )
    return manifest


def _outcome(config: ShardConfig, manifest: Manifest) -> Outcome:
    data = {
        "set": shown(config.set),
        "name": manifest.name,
        "samples": manifest.samples,
        "shards": len(manifest.shards),
        "bytes": manifest.num_bytes,
        "quarantined": manifest.quarantined,
        "skipped": manifest.source.get("skipped", {}),
        "codecs": manifest.codecs,
        "source": manifest.source,
        "identity": manifest.identity,
    }
    lines = [
        f"{data['set']}: {manifest.samples} samples in {len(manifest.shards)} shards, "
        f"{manifest.num_bytes / 1e6:.1f} MB, identity {manifest.identity[:12]}"
    ]
    if manifest.quarantined:
        lines.append(f"  {manifest.quarantined} in quarantine, see {data['set']}/{QUARANTINE_NAME}")
    lines += [f"  skipped {count} files: {reason}" for reason, count in sorted(data["skipped"].items())]
    if published := manifest.source.get("published"):
        lines.append(f"  {published}")
    return Outcome(data=data, text="\n".join(lines))
