"""Training loss and metrics must not know how a batch is cut into micro-batches and ranks."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from tests.training.losses.cut_batches import (
    EVALUATED,
    GLOBAL,
    LEFT_OUT,
    STEPS,
    TRAINED,
    VALID_SHARES,
    VERBS,
    Observer,
    Views,
    apart,
    flatten,
    judge,
    make_model,
    make_trainer,
    plain_step,
    take_step,
    train_epochs,
)
from training.loading.sampler import TrainSampler
from training.losses.global_loss import GlobalLoss
from training.losses.pixel_losses import l1_log
from training.metrics.image_metrics import MetricSums, image_metrics
from training.metrics.protocols import METRICS, PROTOCOLS
from training.model.depth_range import depth_from_log
from training.model.depth_unet import DepthUnet

ROOT = Path(__file__).parents[3]
LIMIT_S = 150  # for all processes together; they take about 15 s

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*not resumable",
    "ignore:Checkpoint dir",
    "ignore:.*no .val_datal",
    "ignore:The dirpath",
)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what the ranks of each world wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    with (folder / "err").open("w") as log:
        command = [sys.executable, "-m", "tests.training.losses.cut_batches", str(folder)]
        processes = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            assert processes.wait(LIMIT_S) == 0, (folder / "err").read_text()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(processes.pid, signal.SIGKILL)
            processes.wait()
    return folder


def read_reports(folder: Path, world: int) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{world}-{rank}.json").read_text()) for rank in range(world)]


def learnt(step: dict[str, Any], loss: str) -> Tensor:
    """The weights; without the last bias if the loss ignores scale: AdamW makes a step of its rounding errors."""
    return step["weights"][:-1] if loss == "si_log" else step["weights"]


@pytest.mark.parametrize("shares", ["uneven", "half"])
@pytest.mark.parametrize("loss", TRAINED)
@pytest.mark.parametrize("micro_batch", [8, 4, 2, 1])
def test_a_step_does_not_depend_on_the_micro_batch(loss, shares, micro_batch):
    found, expected = take_step(loss, shares, micro_batch), plain_step(loss, shares)
    assert apart(found["gradient"], expected["gradient"]) < 1e-6
    assert apart(learnt(found, loss), learnt(expected, loss)) < 1e-6
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("loss", TRAINED)
@pytest.mark.parametrize("shares", ["uneven", "half"])
def test_two_ranks_take_the_same_step(ranks, loss, shares):
    expected = plain_step(loss, shares)
    for rank in (0, 1):
        found = torch.load(ranks / f"steps{rank}.pt")
        for step in [found[f"{loss} {shares}"]] + [found["accumulated"]] * ((loss, shares) == ("silog", "uneven")):
            assert apart(step["gradient"], expected["gradient"]) < 1e-6
            assert apart(learnt(step, loss), learnt(expected, loss)) < 1e-6
            assert step["loss"] == pytest.approx(expected["loss"], rel=1e-6)


@pytest.mark.parametrize("loss", TRAINED)
@pytest.mark.parametrize("shares", ["uneven", "half"])
def test_a_mean_of_the_parts_means_would_be_another_step(loss, shares):
    found, expected = plain_step(loss, shares, parts=2), plain_step(loss, shares)
    assert apart(found["gradient"], expected["gradient"]) > 0.01
    assert found["loss"] != pytest.approx(expected["loss"], rel=1e-3)


def test_a_global_batch_without_a_valid_pixel_moves_nothing(ranks):
    before = flatten([*make_model().parameters()])
    steps = [torch.load(ranks / f"steps{rank}.pt")["none"] for rank in (0, 1)]
    for step in [*steps, *(take_step(loss, "none", 4) for loss in TRAINED)]:
        assert not step["gradient"].any()
        assert apart(step["weights"], before) < 1e-4  # AdamW's weight decay
        assert step["loss"] == 0


def test_the_micro_batches_at_the_end_of_a_set_may_be_fewer_and_smaller():
    """Other samplers than ours leave 3 of 8 samples: one micro-batch of 2 and one of 1, of the 4 that make a step."""
    model, observer, whole = make_model(), Observer(), make_model()
    views = Views(3, (0.9, 0.1, 0.4, *(0.0,) * 5))
    positions = [(0, position) for position in range(3)]
    make_trainer(4, callbacks=[observer]).fit(model, DataLoader(views, 2, sampler=positions))
    batch = default_collate([views[item] for item in positions])
    whole.loss_sum(whole(batch["image"]), batch).mean().backward()
    assert apart(observer.gradient, flatten([parameter.grad for parameter in whole.parameters()])) < 1e-6


def test_gradients_are_clipped_when_they_are_whole():
    whole = plain_step("silog", "uneven")["gradient"].norm().item()
    found = take_step("silog", "uneven", 2, gradient_clip_val=0.8 * whole)
    assert apart(found["gradient"], plain_step("silog", "uneven", clip=0.8 * whole)["gradient"]) < 1e-6
    assert found["gradient"].norm().item() == pytest.approx(0.8 * whole, rel=1e-3)


def test_half_precision_takes_nearly_the_same_step():
    found, expected = take_step("silog", "uneven", 2, precision="bf16-mixed"), plain_step("silog", "uneven")
    assert 0 < apart(found["gradient"], expected["gradient"]) < 0.02
    assert found["loss"] == pytest.approx(expected["loss"], rel=0.02)


def test_what_is_differentiated_has_the_size_of_a_mean_and_knows_no_mask():
    loss, prediction = GlobalLoss(), torch.ones(2, 1, 600, 600, requires_grad=True)
    valid = torch.zeros(2, 1, 600, 600, dtype=torch.bool)
    valid[0, 0, 0, 0] = True
    part = l1_log(prediction, torch.ones_like(valid, dtype=torch.float32), valid)
    value = loss.add(part, valid.numel())
    assert value.item() == pytest.approx(1 / 720_000)
    assert [each.item() for each in loss.finish_step()] == [1.0, 720_000.0]


@pytest.mark.parametrize("micro_batch", [8, 2])
def test_the_loss_of_an_epoch_is_per_valid_pixel_and_survives_a_stop_at_any_step(tmp_path, micro_batch):
    *steps, epoch = train_epochs(tmp_path / "whole", micro_batch)
    views = Views(STEPS * GLOBAL + 1, VALID_SHARES["uneven"], LEFT_OUT)
    counts = [
        sum(int(views[1, i]["valid"].sum()) for i in range(GLOBAL * step, GLOBAL * (step + 1)) if i % 8 != LEFT_OUT)
        for step in range(STEPS)
    ]
    weighted = sum(count * loss for count, loss in zip(counts, steps, strict=True)) / sum(counts)
    assert epoch == pytest.approx(weighted, rel=1e-6)
    assert max(steps) > 1.01 * min(steps)
    for step in (4, 5):
        resumed = train_epochs(tmp_path / "on", micro_batch, tmp_path / f"whole/step={step}.ckpt", step)
        assert resumed[-1] == epoch


def test_the_loss_of_an_epoch_begun_by_two_ranks_and_finished_by_one(ranks, tmp_path):
    expected = train_epochs(tmp_path / "whole", 4)
    for report in read_reports(ranks, 2):
        assert report["epoch"] == pytest.approx(expected, rel=1e-6)
    resumed = train_epochs(tmp_path / "on", 4, ranks / "checkpoints/step=4.ckpt", 4)
    assert resumed[-1] == pytest.approx(expected[-1], rel=1e-6)


class SaveWithin(Callback):
    """Saves a checkpoint between the two micro-batches of the second step."""

    def on_train_batch_end(self, trainer: Trainer, module: DepthUnet, outputs: Any, batch: Any, index: int) -> None:
        if index in (1, 2):
            trainer.save_checkpoint(f"{trainer.default_root_dir}/{index}.ckpt")


def test_a_checkpoint_holds_plain_sums_of_whole_steps(tmp_path):
    trainer = make_trainer(2, callbacks=[SaveWithin()], default_root_dir=tmp_path)
    views = Views(16, VALID_SHARES["uneven"], LEFT_OUT)
    trainer.fit(make_model(), DataLoader(views, 4, sampler=TrainSampler(16, 8)))
    after, within = (torch.load(tmp_path / f"{index}.ckpt", weights_only=True)["train_loss"] for index in (1, 2))
    assert after == within
    assert (type(after["total"]), type(after["count"])) == (float, int)
    assert after["count"] == sum(int(views[0, i]["valid"].sum()) for i in range(8) if i != LEFT_OUT)


def plain_means(size: int) -> dict[str, float]:
    """Sample by sample."""
    model, sums, totals = make_model(), MetricSums(), []
    views = Views(size, VALID_SHARES["judged"])
    for position in range(size):
        batch = default_collate([views[0, position]])
        with torch.no_grad():
            z = model(batch["image"])
        totals.append(model.loss_sum(z, batch))
        sums.add(
            *image_metrics(depth_from_log(z), batch["depth"], batch["valid"], PROTOCOLS["headline"]), torch.ones(1)
        )
    loss = sum(float(each.total) for each in totals) / sum(int(each.count) for each in totals)
    return {"loss": loss, **sums.mean()}


@pytest.mark.parametrize(("verb", "prefix"), VERBS.items())
@pytest.mark.parametrize("size", EVALUATED)
def test_metrics_are_the_same_for_one_two_and_three_ranks(ranks, verb, prefix, size):
    expected = {f"{prefix}_{name}": value for name, value in plain_means(size).items()}
    assert len(expected) == 1 + len(METRICS)
    reports = read_reports(ranks, 2) + read_reports(ranks, 3)
    for found in (judge(size, verb), *(report[f"{verb} {size}"] for report in reports)):
        assert found == pytest.approx(expected, rel=1e-6)
