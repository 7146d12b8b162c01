import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from sharding.errors import DataError, UsageError
from training.finetuning.finetune import init_model
from training.metrics.protocols import METRICS
from training.model.depth_range import depth_from_log
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters
from training.model.log_depth import IMAGENET_DEVIATION, IMAGENET_MEAN

SMALL = Hyperparameters(encoder_name="resnet18", height=33, width=48, learning_rate=1e-3, log_depth_mean=2.0)


class Echo(nn.Module):
    """A network that answers the sum of its normalised channels, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor) -> Tensor:
        return self.weight * image.sum(1, keepdim=True)


def make_batch(size: int = 4, height: int = 33, width: int = 48) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (size, 3, height, width), generator=random, dtype=torch.uint8)
    return {
        "image": image,
        "depth": torch.rand(size, 1, height, width, generator=random) * 20 + 1,
        "valid": torch.rand(size, 1, height, width, generator=random) > 0.3,
        "weight": torch.ones(size),
        "key": [f"view-{number}" for number in range(size)],
    }


@pytest.fixture(scope="module")
def model() -> DepthUnet:
    return DepthUnet(init_model("none", "resnet18"), SMALL).eval()


def save(model: DepthUnet, file: Path) -> Path:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(file)
    return file


def test_bytes_are_normalised_as_imagenet_and_the_mean_depth_is_added():
    model = DepthUnet(Echo(), Hyperparameters(log_depth_mean=1.5))
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    channels = zip((0, 128, 255), IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)
    expected = 1.5 + sum((value / 255 - mean) / deviation for value, mean, deviation in channels)
    assert model(image).item() == pytest.approx(expected, abs=1e-5)


def test_an_image_that_is_not_bytes_is_refused(model):
    with pytest.raises(TypeError, match=r"expected an image uint8 \(B, 3, H, W\), found torch.float32"):
        model(torch.zeros(1, 3, 33, 48))


def test_an_untrained_network_predicts_about_the_mean_depth(model):
    z = model(make_batch()["image"])
    assert z.dtype == torch.float32
    assert z.median().item() == pytest.approx(SMALL.log_depth_mean, abs=0.7)


def test_depth_is_positive_and_bounded_whatever_the_network_says():
    z = torch.tensor([-1e4, -1.0, 0.0, math.log(7), 1e4])
    assert depth_from_log(z).tolist() == pytest.approx([0.05, math.exp(-1), 1, 7, 1000])


def test_depth_where_it_is_invalid_has_no_influence(model):
    batch = make_batch()
    spoiled = batch | {"depth": batch["depth"].clone()}
    spoiled["depth"][~batch["valid"]] = torch.tensor([0.0, torch.nan, torch.inf, -5.0]).repeat(10_000)[
        : int((~batch["valid"]).sum())
    ]
    losses, gradients = [], []
    for one in (batch, spoiled):
        model.zero_grad()
        loss = model.loss_sum(model(one["image"]), one).mean()
        loss.backward()
        losses.append(loss.item())
        gradients.append(next(model.parameters()).grad.clone())
    assert losses[0] == losses[1] > 0
    assert torch.equal(gradients[0], gradients[1])
    assert validate(model, batch) == validate(model, spoiled)
    everything = batch | {"valid": torch.ones_like(batch["valid"])}
    assert model.loss_sum(model(batch["image"]), everything).mean().item() != losses[0]


def test_a_sample_of_weight_0_has_no_influence_on_loss_and_metrics(model):
    batch = make_batch()
    padded = batch | {"weight": torch.tensor([1.0, 0.0, 1.0, 1.0]), "depth": batch["depth"].clone()}
    padded["depth"][1] = 300.0
    chosen = [0, 2, 3]
    without = {
        name: value[chosen] if isinstance(value, Tensor) else [value[i] for i in chosen]
        for name, value in batch.items()
    }
    found, expected = validate(model, padded), validate(model, without)
    assert found == pytest.approx(expected, rel=1e-6)
    assert set(found) == {"loss", *METRICS}
    assert validate(model, padded | {"weight": torch.ones(4)})["abs_rel"] != pytest.approx(
        expected["abs_rel"], rel=0.01
    )


def validate(model: DepthUnet, batch: dict[str, Any]) -> dict[str, float]:
    model.on_validation_epoch_start()
    with torch.no_grad():
        model.validation_step(batch, 0)
    return model.validation_means()


def test_a_batch_without_a_valid_pixel_costs_nothing_and_moves_nothing(model):
    batch = make_batch()
    batch["valid"][:] = False
    model.zero_grad()
    loss = model.loss_sum(model(batch["image"]), batch).mean()
    loss.backward()
    assert loss.item() == 0
    assert all(not parameter.grad.any() for parameter in model.parameters())


def test_a_loss_that_is_not_finite_names_its_samples():
    model = DepthUnet(Echo(), Hyperparameters())
    batch = make_batch()
    batch["depth"][2, 0, 5, 5], batch["valid"][2, 0, 5, 5] = torch.nan, True
    model.training_step(make_batch(), 0)
    model.training_step(batch, 1)
    said = r"the loss is nan at step 0, in the batch of view-0, view-1, view-2, view-3"
    for meet in (model.on_validation_epoch_start, lambda: model.on_save_checkpoint({}), model.on_train_epoch_end):
        with pytest.raises(DataError, match=said):
            meet()


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart_and_the_encoder_learns_too():
    model = DepthUnet(init_model("none", "resnet18"), SMALL)
    optimizer = model.configure_optimizers()["optimizer"]
    first_layer = model.unet.layers[0][0].weight.detach().clone()
    batch, losses = make_batch(2), []
    batch["depth"] = batch["image"].float().mean(1, keepdim=True) / 20 + 1
    for _ in range(16):
        loss = model.loss_sum(model(batch["image"]), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert (model.unet.layers[0][0].weight - first_layer).abs().max() > 1e-3


def test_encoder_and_decoder_learn_at_their_rates():
    options = Hyperparameters(encoder_name="resnet18", learning_rate=1e-3, encoder_lr_factor=0.1, warmup_steps=1)
    configured = DepthUnet(init_model("none", "resnet18"), options).configure_optimizers()
    groups = configured["optimizer"].param_groups
    assert [group["initial_lr"] for group in groups] == pytest.approx([1e-4, 1e-4, 1e-3, 1e-3])
    # The first step of the warm-up.
    assert [group["lr"] for group in groups] == pytest.approx([0.5e-4, 0.5e-4, 0.5e-3, 0.5e-3])
    assert configured["lr_scheduler"]["interval"] == "step"


def test_weight_decay_spares_biases_and_batchnorm():
    options = Hyperparameters(encoder_name="resnet18", weight_decay=0.3)
    model = DepthUnet(init_model("none", "resnet18"), options)
    groups = model.configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0, 0.3, 0.0]
    assert [len(group["params"]) for group in groups] == [20, 40, 18, 28]
    spared = {id(parameter) for group in groups[1::2] for parameter in group["params"]}
    expected = {
        id(parameter)
        for layer in model.modules()
        for name, parameter in layer.named_parameters(recurse=False)
        if isinstance(layer, nn.BatchNorm2d) or name == "bias"
    }
    assert spared == expected


def test_a_run_from_before_decays_all_in_two_groups():
    options = Hyperparameters(encoder_name="resnet18", decay="all")
    groups = DepthUnet(init_model("none", "resnet18"), options).configure_optimizers()["optimizer"].param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.01, 60), (0.01, 46)]


def test_a_loaded_network_predicts_the_same(model, tmp_path):
    image = make_batch(2, 48, 63)["image"]
    file = save(model, tmp_path / "model.ckpt")
    loaded = DepthUnet.load(file)
    assert not loaded.training
    assert loaded.options == SMALL
    assert torch.equal(loaded.predict_depth(image), model.predict_depth(image))
    by_lightning = DepthUnet.load_from_checkpoint(file, map_location="cpu", weights_only=True).eval()
    assert torch.equal(by_lightning.predict_depth(image), model.predict_depth(image))


def test_a_checkpoint_holds_tensors_and_plain_values_alone(model, tmp_path):
    content = torch.load(save(model, tmp_path / "model.ckpt"), weights_only=True)
    assert all(type(value) in (str, int, float) for value in content["hyper_parameters"].values())
    assert set(content["state_dict"]) == {"unet." + key for key in model.unet.state_dict()}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"hyper_parameters": {"encoder_name": "resnet18"}, "state_dict": {}},
            r"unet\.layers\.0\.0\.weight: expected float32 \(64, 3, 7, 7\), found none",
        ),
        ({"hyper_parameters": {"colour": "red"}, "state_dict": {}}, "no hyper-parameters named colour"),
        ({"weights": 1}, "hyper_parameters"),
        (nn.Linear(1, 1), "expected a checkpoint of `depthstream finetune`"),
    ],
)
def test_a_foreign_checkpoint_is_refused(content, expected, tmp_path):
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(DataError, match=expected):
        DepthUnet.load(tmp_path / "model.ckpt")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match=r"checkpoints/last\.ckpt, found none"):
        DepthUnet.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss": "ssim"}, "no loss 'ssim'; there are silog, si_log, l1_log, mse_log, berhu_log, mse"),
        ({"depth_kind": "ordinal"}, "no network for depth of kind 'ordinal'; there are metric, up_to_scale"),
        ({"scale": 0.0}, "scale: expected a number above 0 and at most 1, found 0.0"),
        ({"scale": 1.5}, "scale: expected a number above 0 and at most 1, found 1.5"),
        ({"scale": math.nan}, "scale: expected a number above 0 and at most 1, found nan"),
        ({"gradient_weight": -1.0}, "gradient_weight: expected a number, 0 or more, found -1.0"),
        ({"encoder_name": "vgg"}, "no encoder 'vgg'"),
        ({"learning_rate": 0.0}, "learning rate must be above 0"),
        ({"learning_rate": math.nan}, "learning rate must be above 0"),
    ],
)
def test_impossible_hyperparameters_are_refused(values, expected):
    with pytest.raises(UsageError, match=expected):
        Hyperparameters(**values)


def test_predicting_in_training_mode_is_predicting_and_changes_nothing(model):
    network = copy.deepcopy(model)
    photo = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    expected = model.predict(photo, focal_px=50.0)
    network.train()
    network.unet.layers[0].eval()
    modes, before = [one.training for one in network.modules()], copy.deepcopy(network.state_dict())
    assert np.array_equal(network.predict(photo, focal_px=50.0), expected)
    assert [one.training for one in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("tile_pixels", [-5, 0, 1, 65535])
def test_tiles_that_are_too_small_are_refused(model, tile_pixels):
    with pytest.raises(ValueError, match=f"expected tiles of at least 65536 pixels, found {tile_pixels}"):
        model.predict(np.zeros((40, 56, 3), np.uint8), focal_px=50.0, tile_pixels=tile_pixels)


@pytest.mark.parametrize(
    "wrong", [{"weight_decay": -1.0}, {"encoder_lr_factor": -0.1}, {"freeze_epochs": "1"}, {"warmup_steps": -1}]
)
def test_impossible_hyper_parameters_are_refused(wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}: expected a number, 0 or more, found"):
        Hyperparameters(**wrong)


def test_a_network_can_be_pickled_after_a_fit(model, tmp_path):
    trained = DepthUnet(Echo(), Hyperparameters())
    trainer = Trainer(accelerator="cpu", max_epochs=1, barebones=True)
    trainer.fit(trained, torch.utils.data.DataLoader([make_batch()], batch_size=None))
    assert trained._compute_step is None
