import pytest
import pytorch_lightning
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from sharding.errors import DataError
from training.lightning.averaging import CURRENT, AveragedWeights, validated_weights

STEPS = 7


class Tiny(LightningModule):
    """A line fitted to noise, with BatchNorm, and a constant buffer that no state dict has."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.register_buffer("constant", torch.tensor([123.675, 0.1]), persistent=False)
        self.validated = []

    def training_step(self, batch, batch_idx):
        return self.net(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append({name: value.clone() for name, value in self.state_dict().items()})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(callback, steps=STEPS, **options):
    module = Tiny()
    data = DataLoader(torch.randn(4 * steps, 3, generator=torch.Generator().manual_seed(1)), batch_size=4)
    trainer = Trainer(
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(module, data, DataLoader(torch.zeros(1, 3)))
    return module, trainer


@pytest.mark.parametrize(
    ("ours", "theirs", "given"),
    [
        ({"decay": 0.9}, "EMAWeightAveraging", {"decay": 0.9}),
        (
            {"decay": 0.5, "every": 2, "start": 1},
            "EMAWeightAveraging",
            {"decay": 0.5, "update_every_n_steps": 2, "update_starting_at_step": 1},
        ),
        ({}, "WeightAveraging", {}),
        ({"use_buffers": False}, "WeightAveraging", {"use_buffers": False}),
    ],
)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_averages_are_those_of_lightning(ours, theirs, given, accumulation):
    averaging, lightnings = AveragedWeights(**ours), getattr(pytorch_lightning.callbacks, theirs)(**given)
    found, _ = fit(averaging, steps=8, accumulate_grad_batches=accumulation)
    expected, _ = fit(lightnings, steps=8, accumulate_grad_batches=accumulation)
    for name, value in expected.state_dict().items():
        if value.is_floating_point():  # counts of batches are not averaged
            torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-5, atol=1e-7)


def plain():
    """The weights after the last step, without averaging."""
    return fit(pytorch_lightning.Callback())[0].state_dict()


def test_training_goes_on_with_weights_that_are_not_averaged():
    averaging = AveragedWeights(decay=0.9)
    module, _ = fit(averaging)
    last = plain()
    inside = averaging._average  # after training they have changed places
    assert all(torch.equal(inside[name], value) for name, value in last.items())
    assert not torch.equal(module.net[0].weight, last["net.0.weight"])
    assert torch.equal(module.constant, torch.tensor([123.675, 0.1]))


def test_the_average_is_what_is_validated_and_what_is_left():
    module, _ = fit(AveragedWeights(decay=0.9))
    (seen,) = module.validated
    assert all(torch.equal(seen[name], value) for name, value in module.state_dict().items())


def test_before_the_first_update_the_current_weights_are_validated_and_saved():
    averaging = AveragedWeights(decay=0.9, start=STEPS)
    module, trainer = fit(averaging)
    (seen,), last = module.validated, plain()
    assert all(torch.equal(seen[name], value) for name, value in last.items())
    checkpoint = {"state_dict": module.state_dict()}
    averaging.on_save_checkpoint(trainer, module, checkpoint)
    assert set(checkpoint) == {"state_dict"}


@pytest.mark.parametrize("is_validating", [False, True])
def test_a_checkpoint_has_each_kind_of_weights_in_its_place_even_during_a_validation(is_validating):
    averaging, module = AveragedWeights(decay=0.5), Tiny()
    averaging._update(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    if is_validating:
        averaging.on_validation_epoch_start(trainer, module)
    checkpoint = {"state_dict": module.state_dict()}
    averaging.on_save_checkpoint(trainer, module, checkpoint)
    assert all(torch.equal(checkpoint[CURRENT][name], value) for name, value in expected.items())
    assert torch.equal(checkpoint["state_dict"]["net.0.weight"], Tiny().net[0].weight)


def restored(averaging, checkpoint):
    module = Tiny()
    module.load_state_dict(checkpoint["state_dict"])
    averaging.on_load_checkpoint(None, module, checkpoint)
    averaging.load_state_dict(checkpoint["state"])
    return module


def test_a_checkpoint_restores_both_kinds_of_weights():
    averaging = AveragedWeights(decay=0.5)
    module, trainer = fit(averaging)
    averaging.on_validation_end(trainer, module)  # back to the last step
    checkpoint = {"state_dict": module.state_dict(), "state": averaging.state_dict()}
    averaging.on_save_checkpoint(trainer, module, checkpoint)
    again = AveragedWeights(decay=0.5)
    other = restored(again, checkpoint)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in module.state_dict().items())
    assert all(torch.equal(again._average[name], value) for name, value in averaging._average.items())
    assert again.state_dict() == {"averaged": STEPS, "latest_step": STEPS}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.pop(CURRENT), "expected current_model_state if and only if the weights were averaged"),
        (lambda one: one[CURRENT].pop("net.0.bias"), "current_model_state: net.0.bias: expected float32"),
        (lambda one: one.update({CURRENT: [1]}), "current_model_state"),
        (lambda one: one["state"].update(averaged=-1), "averaged"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(change, said):
    weights = dict(Tiny().state_dict())
    checkpoint = {"state_dict": weights, CURRENT: dict(weights), "state": {"averaged": 1, "latest_step": 1}}
    change(checkpoint)
    with pytest.raises(DataError, match=said):
        restored(AveragedWeights(), checkpoint)


def test_the_validated_weights_are_in_place_for_as_long_as_asked():
    averaging = AveragedWeights(decay=0.5)
    module, trainer = fit(averaging)
    averaging.on_validation_end(trainer, module)  # back to the last step
    before = module.net[0].weight.clone()
    with validated_weights(trainer):
        assert torch.equal(module.net[0].weight, module.validated[0]["net.0.weight"])
    assert torch.equal(module.net[0].weight, before)
