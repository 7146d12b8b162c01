"""A loss that is not finite, in real training: named by step and samples, and nothing of it is saved."""

import pytest
import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from sharding.errors import DataError
from tests.training.model.test_depth_unet import Echo, make_batch
from training.launch.late_value import LateValue
from training.model import finite
from training.model.depth_unet import DepthUnet
from training.model.finite import FiniteCheck
from training.model.hyperparameters import Hyperparameters


def batches(bad, count=8):
    """Batches of four samples with keys of their own; in those of `bad` a pixel that counts is NaN."""
    for number in range(count):
        batch = make_batch()
        batch["key"] = [f"{number}-{sample}" for sample in range(len(batch["key"]))]
        if number in bad:
            batch["depth"][2, 0, 5, 5], batch["valid"][2, 0, 5, 5] = torch.nan, True
        yield batch


@pytest.mark.parametrize(
    ("bad", "accumulation", "step"),
    [({0}, 1, 0), ({3}, 1, 3), ({7}, 1, 7), ({4}, 2, 2), ({5}, 2, 2), ({6, 7}, 4, 1), ({2, 5}, 1, 2)],
)
def test_the_step_and_the_samples_are_named_and_nothing_is_saved(bad, accumulation, step, tmp_path):
    model = DepthUnet(Echo(), Hyperparameters())
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, accumulate_grad_batches=accumulation, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    first = min(bad)
    keys = ", ".join(f"{first}-{sample}" for sample in range(4))
    with pytest.raises(DataError, match=rf"^the loss is nan at step {step}, in the batch of {keys}: look at these"):
        trainer.fit(model, DataLoader(list(batches(bad)), batch_size=None))
    assert trainer.global_step <= step + 1  # the step after the bad one is not taken
    with pytest.raises(DataError, match="the loss is nan"):
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_the_check_of_a_step_is_read_when_the_next_one_ends(monkeypatch):
    read = []

    class Noted(LateValue):
        def read(self):
            read.append(self)
            return super().read()

    monkeypatch.setattr(finite, "LateValue", Noted)
    check = FiniteCheck()
    for step in range(3):
        check.add(step, ["a"], torch.tensor(1.0))
        check.add(step, ["b"], torch.tensor(2.0))
        check.finish_step(torch.tensor(1.5))
        assert len(read) == step
    check.start()
    check.require()
    assert len(read) == 2


def test_a_loss_of_another_rank_is_found_at_the_same_step():
    check = FiniteCheck()
    check.add(5, ["a"], torch.tensor(1.0))
    check.finish_step(torch.tensor(torch.nan))  # the sum over the ranks
    with pytest.raises(DataError, match="the loss is not finite at step 5, in a batch of another rank"):
        check.require()
    check.add(6, ["b"], torch.tensor(torch.nan))
    with pytest.raises(DataError, match="at step 5, in a batch of another rank"):
        check.finish_step(torch.tensor(torch.nan))


def test_weights_that_a_gradient_has_spoiled_are_not_saved(tmp_path):
    model = DepthUnet(Echo(), Hyperparameters())
    model.require_finite()
    with torch.no_grad():
        model.unet.weight.fill_(torch.inf)
    with pytest.raises(DataError, match=r"^the weights are not finite, though the loss was"):
        model.require_finite()
    with pytest.raises(DataError, match=r"^the weights are not finite"):
        model.on_save_checkpoint({})


def test_another_fit_begins_afresh():
    model = DepthUnet(Echo(), Hyperparameters())
    model._finite.add(0, ["a"], torch.tensor(torch.nan))
    model.on_fit_start()
    model.on_validation_epoch_start()
