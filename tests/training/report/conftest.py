"""Run folders without a checkpoint, as the reader of arms needs them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.config import FinetuneConfig, PretrainConfig
from training.runfolder import save_config

TRAIN, VAL = "a" * 64, "b" * 64
"""Identities of the sets of a run."""


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes config.yaml and metrics.json of a fine-tuning run; `facts` are entries of the latter."""

    def write(name: str, facts: dict[str, Any] | None = None, **options: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config = {"set": "sets/train", "val": "sets/val", "out": str(folder), "encoder_name": "resnet18", "epochs": 2}
        save_config(folder, FinetuneConfig(**(config | options)))
        sets = {"train": {"identity": TRAIN, "name": "train"}, "val": {"identity": VAL, "name": "val"}}
        (folder / "metrics.json").write_text(json.dumps(sets | {"epochs": 2, "finished": True} | (facts or {})))
        return folder

    return write


@pytest.fixture
def write_encoder(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes what of a pretraining run tells how it was made."""

    def write(name: str, identity: str = "c" * 64, content: bytes = b"weights", **options: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        save_config(folder, PretrainConfig(sets=("sets/mega",), out=str(folder), **options))
        (folder / "sets.json").write_text(json.dumps([{"name": "mega", "identity": identity, "samples": 8}]))
        (folder / "encoder.pt").write_bytes(content)
        return folder

    return write
