"""The command `inspect`: what is in a set, in numbers and, with `--grid`, as a contact sheet."""

from typing import Any

import numpy as np
import pandas as pd

from sharding.cli import Outcome
from sharding.config import InspectConfig
from sharding.format.sample import DepthKind
from sharding.machine.files import write_through_links
from sharding.reading.pictures import contact_sheet, encode_png
from sharding.reading.shard_set import ShardSet
from sharding.sources.published import expected_views

_UNITS: dict[DepthKind, str] = {"metric": "m", "up_to_scale": "units"}


def run(config: InspectConfig) -> Outcome:
    """Run `depthstream inspect`."""
    opened = ShardSet(config.set, config.where)
    data = describe_contents(opened)
    lines = _text(opened, data)
    if config.grid:
        write_through_links(config.grid, grid(opened, config.samples, config.seed))
        lines.append(f"  contact sheet: {config.grid}")
    return Outcome(data=data | ({"grid": config.grid} if config.grid else {}), text="\n".join(lines))


def describe_contents(opened: ShardSet) -> dict[str, Any]:
    """Collect counts, sizes and depth statistics of a set or subset, from its index alone."""
    index = opened.index
    deep = index[index["valid_fraction"] > 0]  # the statistics of the others are NaN
    part_bytes = {part: int(index[f"{part}_bytes"].sum()) for part in ("image", "depth", "valid", "meta")}
    return {
        "set": opened.url,
        "name": opened.manifest.name,
        "where": opened.where,
        "samples": len(opened),
        "of": opened.manifest.samples,
        "shards": len(opened.manifest.shards),
        "bytes": part_bytes,
        "identity": opened.manifest.identity,
        "by_scene": _counts(index, "scene"),
        "by_scene_type": _counts(index, "scene_type"),
        "by_kind": _counts(index, "kind"),
        "by_size": _counts(index.assign(size=index["height"].astype(str) + " x " + index["width"].astype(str)), "size"),
        "valid_fraction": float(index["valid_fraction"].mean()),
        "depth": {
            "min": float(deep["depth_min"].min()),
            "median_of_medians": float(deep["depth_median"].astype("float64").median()),
            "max": float(deep["depth_max"].max()),
        }
        if len(deep)
        else None,
        "codecs": opened.manifest.codecs,
        "shrunk": _describe_shrunk(opened.manifest.made),
        "quarantined": opened.manifest.quarantined,
        "published": None if opened.where else compare_with_published(opened),
    }


def compare_with_published(opened: ShardSet) -> dict[str, Any] | None:
    """Compare a whole set with the published split, by scene type; None if no counts are published."""
    manifest = opened.manifest
    published = expected_views(manifest.dataset, manifest.split)
    if published is None:
        return None
    wanted = manifest.made.get("scene_type", "all")
    views = {kind: count for kind, count in published.views.items() if wanted in ("all", kind)}
    found = {kind: int((opened.rows["scene_type"] == kind).sum()) for kind in views}
    return {"archive": published.name, "views": views, "found": found, "whole": found == views, "note": published.note}


def _counts(index: pd.DataFrame, column: str) -> dict[str, int]:
    return {str(value): int(count) for value, count in index[column].value_counts().sort_index().items() if value}


def _describe_shrunk(made: dict[str, Any]) -> dict[str, Any] | None:
    """Return how larger images were shrunk; None if they were not."""
    names = ("max_side", "jpeg_quality", "jpeg_subsampling")
    return None if made.get("max_side") is None else {name: made[name] for name in names}


def _text(opened: ShardSet, data: dict[str, Any]) -> list[str]:
    subset = f" of {data['of']} (where {data['where']})" if data["where"] else ""
    lines = [
        f"{opened.url}: {data['samples']} samples{subset} in {data['shards']} shards, identity {data['identity'][:12]}"
    ]
    lines.append("  bytes: " + ", ".join(f"{part} {size / 1e6:.2f} MB" for part, size in data["bytes"].items()))
    for title in ("by_scene_type", "by_kind", "by_size", "by_scene"):
        shown = list(data[title].items())
        more = f", and {len(shown) - 12} more" if len(shown) > 12 else ""
        if shown:
            lines.append(
                f"  {title.replace('_', ' ')}: " + ", ".join(f"{name} {count}" for name, count in shown[:12]) + more
            )
    if data["shrunk"]:
        lines.append(
            "  images of more than {max_side} px were shrunk to it, as JPEG of quality {jpeg_quality}, "
            "{jpeg_subsampling}".format(**data["shrunk"])
        )
    if data["depth"]:
        depth = data["depth"]
        lines.append(
            f"  depth: {depth['min']:.3g} to {depth['max']:.3g}, median {depth['median_of_medians']:.3g}; "
            f"valid pixels {100 * data['valid_fraction']:.1f} %"
        )
    if data["published"]:
        lines.append(_published_text(data["published"]))
    if data["quarantined"]:
        lines.append(f"  {data['quarantined']} samples were refused at creation: see quarantine.jsonl")
    return lines


def _published_text(published: dict[str, Any]) -> str:
    counts = ", ".join(
        f"{published['found'][kind]} of {count} {kind}" for kind, count in sorted(published["views"].items())
    )
    if published["whole"]:
        return f"  all views of the published {published['archive']}: {counts}" + (
            f" ({published['note']})" if published["note"] else ""
        )
    return f"  not the whole of the published {published['archive']}: {counts} views"


def grid(opened: ShardSet, num_samples: int, seed: int) -> bytes:
    """Draw a contact sheet, as PNG, of samples that are drawn uniformly at random from the set."""
    count = min(num_samples, len(opened))
    rows = sorted(int(row) for row in np.random.default_rng((seed, 0)).choice(len(opened), count, replace=False))
    kinds = opened.rows["kind"].iloc[rows]
    captions = [
        key if kind == "none" else f"{key}\n{kind}"
        for key, kind in zip(opened.rows["key"].iloc[rows], kinds, strict=True)
    ]
    # One unit for all: no data set has both metric depth and depth up to scale.
    unit = next((_UNITS[kind] for kind in kinds if kind in _UNITS), "m")
    return encode_png(contact_sheet(opened.read(rows), captions, unit))
