"""A run whose network works at three quarters of the resolution of its images."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig
from training.evaluation.evaluate import evaluate_model, load_predictor
from training.finetuning import finetune
from training.metrics.protocols import METRICS

pytestmark = pytest.mark.slow


def make_config(sets: tuple[ShardSet, ShardSet], out: Path, scale: float, resume: bool = False) -> FinetuneConfig:
    return FinetuneConfig(
        set=sets[0].url,
        val=sets[1].url,
        out=str(out),
        scale=scale,
        resume=resume,
        loss="mse",
        gradient_weight=0.5,
        where="scene_type == 'outdoor'",
        encoder_name="resnet18",
        height=40,
        width=48,
        epochs=1,
        batch_size=8,
        num_workers=0,
        accelerator="cpu",
        devices="1",
    )


@pytest.fixture(scope="module")
def run(diode_sets: tuple[ShardSet, ShardSet], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("runs") / "scaled"
    finetune.run(make_config(diode_sets, out, 0.75))
    yield out
    shutil.rmtree(out)


def test_its_checkpoint_keeps_the_scale_and_validation_is_evaluation_at_native_resolution(run, diode_sets) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    named = load_predictor(run / "checkpoints" / "last.ckpt", "last", torch.device("cpu"))
    assert named.predictor.scale == 0.75
    found = evaluate_model(named, ShardSet(diode_sets[1].url, "scene_type == 'outdoor'")).mean("headline")
    assert found == pytest.approx({name: metrics["last"][name] for name in METRICS}, rel=1e-5)


def test_it_is_not_resumed_at_another_scale(run, diode_sets) -> None:
    with pytest.raises(UsageError, match=r"begun with --scale 0\.75, not 1\.0; repeat its options"):
        finetune.run(make_config(diode_sets, run, 1.0, resume=True))
