"""A loss that is not finite, in real training: named by step and samples, and nothing of it is saved."""

import pytest
import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from sharding.errors import DataError
from tests.training.model.test_depth_unet import Echo, make_batch
from training.losses.finite import FiniteCheck, is_looked_at
from training.model.depth_unet import DepthUnet
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
@pytest.mark.parametrize("every", [1, 3])
def test_the_step_and_the_samples_are_named_and_nothing_is_saved(bad, accumulation, step, every, tmp_path):
    model = DepthUnet(Echo(), Hyperparameters())
    trainer = Trainer(
        log_every_n_steps=every, accelerator="cpu", max_epochs=1, accumulate_grad_batches=accumulation, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    first = min(bad)
    keys = ", ".join(f"{first}-{sample}" for sample in range(4))
    with pytest.raises(DataError, match=rf"^the loss is nan at step {step}, in the batch of {keys}: look at these"):
        trainer.fit(model, DataLoader(list(batches(bad)), batch_size=None))
    assert trainer.global_step <= (step // every + 1) * every  # no step after the next log is taken
    with pytest.raises(DataError, match="the loss is nan"):
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_read_from_the_device_until_a_look():
    check = FiniteCheck()
    with torch.device("meta"):  # which has no values to read
        for step in range(3):
            check.add(step, ["a"], torch.zeros(()))
            check.finish_step(torch.zeros(()), look=False)
    with pytest.raises(RuntimeError, match="meta"):
        check.require()


def test_the_first_bad_step_is_named():
    check = FiniteCheck()
    for step, value in enumerate([1.0, torch.inf, torch.nan]):
        check.add(step, [f"sample {step}"], torch.tensor(1.0))
        check.add(step, [f"later {step}"], torch.tensor(value))
        check.finish_step(torch.tensor(value), look=False)
    with pytest.raises(DataError, match="the loss is inf at step 1, in the batch of later 1: look"):
        check.require()


def test_a_loss_of_another_rank_is_found_at_the_same_step():
    check = FiniteCheck()
    check.add(5, ["a"], torch.tensor(1.0))
    check.finish_step(torch.tensor(torch.nan), look=False)  # the sum over the ranks
    check.add(6, ["b"], torch.tensor(torch.nan))
    with pytest.raises(DataError, match="the loss is not finite at step 5, in a batch of another rank"):
        check.finish_step(torch.tensor(torch.nan), look=True)


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


@pytest.mark.parametrize(("every", "looked_at"), [(0, [50, 100]), (30, [30, 50, 60, 90, 100]), (1000, [50, 100])])
def test_losses_are_looked_at_when_they_are_logged_and_every_fifty_steps(every, looked_at):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, log_every_n_steps=every)
    assert [steps for steps in range(1, 101) if is_looked_at(trainer, steps)] == looked_at


def test_a_trainer_that_logs_nothing_trains(tmp_path):
    trainer = Trainer(accelerator="cpu", max_epochs=1, barebones=True)
    trainer.fit(DepthUnet(Echo(), Hyperparameters()), DataLoader(list(batches(())), batch_size=None))
    assert trainer.global_step == 8
