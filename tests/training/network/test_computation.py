"""How a step is computed changes rounding alone: same losses, names of weights and statistics, in real training."""

import copy
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from tests.training.model.test_depth_unet import make_batch
from training.finetuning.finetune import init_model
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters
from training.network.computation import Computation, align_state

LATER = 3e-3
"""Relative difference that the losses of four steps may have: AdamW moves a weight about as far for a gradient that is
rounding noise as for a large one. The first loss, before any step, is held to 1e-5."""

OPTIONS = Hyperparameters(encoder_name="resnet18", height=33, width=48, learning_rate=1e-4)


class Losses(DepthUnet):
    """A DepthUnet that keeps the loss of each step."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.losses: list[float] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(float(loss))
        return loss


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return init_model("none", "resnet18")


def fit(unet: nn.Module, computation: Computation, options=OPTIONS, epochs=2, batches: Iterable[Any] = (), **resume):
    model = Losses(copy.deepcopy(unet), options, computation)
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(model, DataLoader(list(batches) or [make_batch(2), make_batch(2)], batch_size=None), **resume)
    return model, trainer


@pytest.fixture(scope="module")
def plain(unet):
    return fit(unet, Computation())[0]


def count_batches(model):
    return {int(value) for name, value in model.named_buffers() if name.endswith("num_batches_tracked")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "computation",
    [Computation(recompute=True), Computation(channels_last=True), Computation(fused=True)],
    ids=["recompute", "channels_last", "fused"],
)
def test_a_run_learns_the_same(unet, plain, computation):
    model, _ = fit(unet, computation)
    assert model.losses[0] == pytest.approx(plain.losses[0], rel=1e-5)
    assert model.losses == pytest.approx(plain.losses, rel=LATER)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert count_batches(model) == {4}
    if computation == Computation(recompute=True):
        assert all(torch.equal(*pair) for pair in zip(model.parameters(), plain.parameters(), strict=True))
        assert all(torch.equal(*pair) for pair in zip(model.buffers(), plain.buffers(), strict=True))


def test_weights_have_the_layout_that_was_asked_for(unet):
    network = copy.deepcopy(unet)
    Computation(channels_last=True).prepare(network)
    weight = network.layers[0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    image = Computation(channels_last=True).arrange(torch.zeros(2, 3, 8, 8))
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert Computation().arrange(torch.zeros(2, 3, 8, 8)).is_contiguous()


@pytest.mark.slow
@pytest.mark.parametrize("fused", [False, True])
def test_a_checkpoint_goes_on_in_another_layout(unet, tmp_path, fused):
    _, trainer = fit(unet, Computation(), epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    found = [
        fit(unet, Computation(channels_last=last, fused=fused), ckpt_path=tmp_path / "one.ckpt", weights_only=True)
        for last in (False, True)
    ]
    losses = [model.losses for model, _ in found]
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=LATER)
    moments = [state["exp_avg"] for state in found[1][1].optimizers[0].state.values()]
    assert any(moment.is_contiguous(memory_format=torch.channels_last) for moment in moments if moment.ndim == 4)


def test_state_of_another_layout_keeps_its_values():
    weight = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    optimizer = torch.optim.AdamW([weight])
    expected = torch.randn(4, 3, 2, 2)
    optimizer.state[weight] = {"exp_avg": expected.clone(), "step": torch.tensor(3.0)}
    align_state(optimizer)
    assert torch.equal(optimizer.state[weight]["exp_avg"], expected)
    assert optimizer.state[weight]["exp_avg"].stride() == weight.stride()
    assert optimizer.state[weight]["step"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_a_compiled_run_learns_the_same_and_compiles_once(unet, plain, recompute):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, _ = fit(unet, Computation(compiled=True, recompute=recompute))
    assert model.losses == pytest.approx(plain.losses, rel=LATER)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert count_batches(model) == {4}
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    model.eval()
    with torch.no_grad():
        for size in ((40, 56), (48, 64), (64, 40), (33, 90)):  # as validation's images have
            model(torch.zeros(1, 3, *size, dtype=torch.uint8))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
def test_a_frozen_encoder_stays_and_is_trained_afterwards(unet):
    options = Hyperparameters(encoder_name="resnet18", height=33, width=48, freeze_epochs=1)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    for epochs, changes in ((1, False), (2, True)):
        found = fit(unet, Computation(), options, epochs)[0].unet.state_dict()
        body, rest = ([name for name in found if name.startswith("layers.0.") is inside] for inside in (True, False))
        assert all(torch.equal(found[name], before[name]) is not changes for name in body if "downsample" not in name)
        assert not any(torch.equal(found[name], before[name]) for name in rest if found[name].is_floating_point())


@pytest.mark.slow
def test_a_frozen_run_that_is_resumed_in_its_second_epoch_trains_the_encoder(unet, tmp_path):
    options = Hyperparameters(encoder_name="resnet18", height=33, width=48, freeze_epochs=1)
    whole, _ = fit(unet, Computation(), options)
    _, trainer = fit(unet, Computation(), options, epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    resumed, _ = fit(unet, Computation(), options, ckpt_path=tmp_path / "one.ckpt", weights_only=True)
    assert all(torch.equal(*pair) for pair in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert all(torch.equal(*pair) for pair in zip(whole.buffers(), resumed.buffers(), strict=True))
