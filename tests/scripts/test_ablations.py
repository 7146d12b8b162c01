"""Networks that lack a measure, and the script that trains and judges them."""

import json
import math

import ablations
import pytest
import torch
from ablations import AblationsConfig
from learning_bench.ablated import WithoutLog, WithoutMask
from learning_bench.arms import ARMS
from learning_bench.summary import SHOWN
from learning_bench.world import World

from sharding.errors import UsageError
from tests.scripts.ablation_runs import make_run
from training.config import FinetuneConfig
from training.finetuning import finetune
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


def test_unknown_arms_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"expected some of long, ours.*found mine"):
        ablations.run(AblationsConfig(out=str(tmp_path / "out"), arms=("ours", "mine")))


def test_a_recipe_is_what_a_run_is_trained_with(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(finetune, "train", lambda config, make, network: calls.append((vars(config), network)))
    world = World(folder=tmp_path, images=64, height=96, width=128)
    for recipe in ARMS.values():
        recipe.train(world, tmp_path / "run", 5)
        described = recipe.describe(seed=5, images=64, threads=2)
        options, network = calls.pop()
        assert (described.pop("images"), described.pop("threads")) == (64, 2)
        assert described.pop("network") == network.__name__
        defaults = vars(FinetuneConfig(set="a", val="b", out="c"))
        differing = {name for name in options if options[name] != defaults[name]} - {"set", "val", "out", "resume"}
        assert differing <= set(described)
        assert described == {name: options[name] for name in described}


def test_finished_runs_of_the_folder_are_read_back_and_of_this_recipe_only(tmp_path):
    config = AblationsConfig(out=str(tmp_path))
    file = tmp_path / "runs" / "ours-0.json"
    file.parent.mkdir()
    world = World(folder=tmp_path, images=config.images, height=96, width=128)
    found = make_run("ours-0", threads=torch.get_num_threads())
    file.write_text(json.dumps(found))
    assert ablations.measure(config, world, "ours", 0) == found
    file.write_text(json.dumps(make_run("mse-0", threads=torch.get_num_threads())))
    with pytest.raises(UsageError, match=r"ours-0\.json: ours-0 is of another recipe: loss: expected none, found mse;"):
        ablations.measure(config, world, "ours", 0)


def test_a_missed_bound_is_told_and_ends_with_status_1():
    baselines = {"constant": dict.fromkeys(SHOWN, 8.0), "row": dict.fromkeys(SHOWN, 4.0)}
    for value, status in ((2.0, True), (4.0, False)):
        runs = {key: make_run(key, value) for key in ("long-0", "long-1", "long-2", "ours-0")}
        outcome = ablations.report(AblationsConfig(), runs, baselines)
        assert outcome.ok is status
        assert outcome.ok is not bool(outcome.data["missed"])
        assert outcome.data["runs"] == runs
        assert [line for line in outcome.text.splitlines() if line.startswith("Missed: long")] == [
            f"Missed: {line}" for line in outcome.data["missed"]
        ]


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
    again = ablations.run(AblationsConfig(**vars(config) | {"known": (str(known),)}))
    assert again.data["runs"] == first.data["runs"]
    assert not (tmp_path / "out" / "runs" / "no-log-0.json").exists()
