"""How `metrics.json` describes the subsets of a run."""

import os
from collections.abc import Mapping
from typing import Any

from sharding.reading.shard_set import ShardSet
from sharding.stores.address import shown
from training.config import FinetuneConfig
from training.depth_sets.subsets import Subsets, where_of_val

_DECISIVE = ("name", "identity", "where", "samples")


def describe_set(samples: ShardSet) -> dict[str, Any]:
    """Describe a subset: identity and query, which decide whether it is the same, and the rest for the reader."""
    return {
        "name": samples.manifest.name,
        "identity": samples.manifest.identity,
        "where": samples.where,
        "samples": len(samples),
        "path": find_path(samples.address),
    }


def decisive(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides, of a subset's description, whether another one is the same."""
    return {name: described.get(name) for name in _DECISIVE}


def describe_subsets(config: FinetuneConfig, subsets: Subsets) -> dict[str, Any]:
    """Return the entries of `metrics.json` about the sets: "train", "val" and, with held-out scenes, "val_set".

    Each set has its description and `without_depth`, the views that were left out because no pixel is valid; with
    held-out scenes also `holdout`, their names. `val_set` is that of --val, which was not opened: path and query.
    """
    found: dict[str, Any] = {
        name: describe_set(samples) | {"without_depth": subsets.without_depth[name]}
        for name, samples in (("train", subsets.train), ("val", subsets.val))
    }
    if not subsets.held_out:
        return found
    for one in found.values():
        one["holdout"] = list(subsets.held_out)
    return found | {"val_set": config.val and {"path": find_path(config.val), "where": where_of_val(config)}}


def find_path(address: str) -> str:
    """Return where a set lies, wherever one looks from: an absolute path, or a URL without login."""
    return shown(address) if "://" in address else os.path.abspath(address)
