"""Networks that lack a measure, and the script that trains and judges them."""

import json
import math

import ablations
import pytest
import torch
from ablations import AblationsConfig
from learning_bench.ablated import WithoutLog, WithoutMask
from learning_bench.arms import ARMS

from sharding.errors import UsageError
from training.losses.pixel_losses import LossSum
from training.model.hyperparameters import Hyperparameters

TYPICAL_M = 8.0


class Plain(torch.nn.Module):
    """The network's output is the red channel of what it is given, times a weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.7))

    def forward(self, pixels):
        return pixels[:, :1] * self.weight


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(2, 1, 4, 5, generator=generator) > 0.4
    return {
        "image": torch.randint(0, 256, (2, 3, 4, 5), generator=generator, dtype=torch.uint8),
        "depth": torch.where(valid, 1 + 9 * torch.rand(2, 1, 4, 5, generator=generator), 0.0),
        "valid": valid,
        "weight": torch.ones(2),
        "key": ["a", "b"],
    }


def make(kind):
    return kind(Plain(), Hyperparameters(loss="mse", log_depth_mean=math.log(TYPICAL_M))).train()


def catch_sums(model, monkeypatch):
    """The sums that training steps add up."""
    found: list[LossSum] = []
    monkeypatch.setattr(model._train_loss, "add", lambda part, _: found.append(part))
    monkeypatch.setattr(type(model), "global_step", 0)
    return found


def test_without_a_mask_every_pixel_counts_and_the_others_are_zero_metres(batch, monkeypatch):
    model = make(WithoutMask)
    found = catch_sums(model, monkeypatch)
    model.training_step(batch, 0)
    depth = model(batch["image"]).exp().double()
    expected = ((depth - batch["depth"].double()) / TYPICAL_M).square().sum()
    assert found[0].count == batch["valid"].numel()
    assert found[0].total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert not batch["valid"].all()


def test_without_a_logarithm_the_output_is_metres_and_the_masked_loss_is_of_them(batch, monkeypatch):
    model = make(WithoutLog)
    found = catch_sums(model, monkeypatch)
    model.training_step(batch, 0)
    output = model.unet((batch["image"] - model.mean) / model.deviation).double()
    metres = TYPICAL_M * (1 + output)
    error = ((metres - batch["depth"].double()) / TYPICAL_M)[batch["valid"]]
    assert found[0].count == batch["valid"].sum()
    assert found[0].total.item() == pytest.approx(error.square().sum().item(), rel=1e-5)
    shown = model.predict_depth(batch["image"])
    assert torch.allclose(shown.double(), metres.clamp(0.05, 1000), rtol=1e-5)
    assert (metres < 0.05).any(), "the bound is not tried otherwise"


def test_arms_differ_from_the_one_they_name_in_one_measure():
    assert set(ARMS) == {"long", "ours", "tutorial-crop", "mse", "no-mask", "no-log"}
    for name in ("no-mask", "no-log"):
        assert ARMS[name].options == ARMS["mse"].options
        assert ARMS[name].model() is not ARMS["mse"].model()
    for name, option in (("tutorial-crop", {"augment": "tutorial"}), ("mse", {"loss": "mse"})):
        assert ARMS[name].options == ARMS["ours"].options | option
        assert ARMS[name].model() is ARMS["ours"].model()


def test_unknown_arms_and_runs_of_other_views_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"expected some of long, ours.*found mine"):
        ablations.run(AblationsConfig(out=str(tmp_path / "out"), arms=("ours", "mine")))
    known = tmp_path / "known.json"
    known.write_text(json.dumps({"images": 64, "runs": {}}))
    with pytest.raises(UsageError, match="expected 1600 images, found 64"):
        ablations.read_known(AblationsConfig(known=str(known)))


def test_an_arm_is_summarised_over_its_seeds():
    runs = {
        f"{arm}-{seed}": {"metrics": dict.fromkeys(ablations.SHOWN, value + seed), "seconds": 10.0 * seed}
        for arm, value in (("ours", 1.0), ("mse", 5.0))
        for seed in (0, 1, 2)
    }
    found = ablations.summarize(runs, {"row": dict.fromkeys(ablations.SHOWN, 4.0)})
    assert found["ours"]["metrics"]["log10"] == {"mean": 2.0, "least": 1.0, "most": 3.0}
    assert found["ours"]["over_row"]["rmse"] == 0.5
    assert found["mse"]["metrics"]["silog"]["mean"] == 6.0
    assert (found["ours"]["runs"], found["ours"]["seconds"]) == (3, 10.0)


@pytest.mark.slow
def test_runs_are_trained_judged_and_not_repeated(tmp_path):
    config = AblationsConfig(out=str(tmp_path / "out"), arms=("no-log",), seeds=(0,), images=64)
    first = ablations.run(config)
    (run,) = first.data["runs"].values()
    assert run["epochs"] == 2
    assert all(math.isfinite(value) for value in run["metrics"].values())
    assert first.data["baselines"]["row"]["log10"] < first.data["baselines"]["constant"]["log10"]
    known = tmp_path / "known.json"
    known.write_text(json.dumps(first.data))
    (tmp_path / "out" / "runs" / "no-log-0.json").unlink()
    again = ablations.run(AblationsConfig(**vars(config) | {"known": str(known)}))
    assert again.data["runs"] == first.data["runs"]
    assert not (tmp_path / "out" / "runs" / "no-log-0.json").exists()
