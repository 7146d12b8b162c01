"""A network that works at a resolution below that of its images."""

import math
from collections.abc import Callable
from dataclasses import asdict

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharding.reading.shard_set import ShardSet
from training.evaluation.evaluate import NamedPredictor, evaluate_model
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import EvalSampler
from training.loading.view import resize_image
from training.metrics.protocols import METRICS
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import as_hyperparameters
from training.prediction.tiles import predict_tiled


class Convolutions(nn.Module):
    """A network that sees 4 pixels around each, and is not smooth."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = [nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 5, padding=2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return 3 * self.layers(image)


def make_model(scale: float = 1.0, **options: object) -> DepthUnet:
    return DepthUnet(Convolutions(), {"scale": scale} | options).eval()


def make_images(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def to_batch(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("scale", [0.5, 0.75, 0.37])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (50, 131)])
def test_depth_is_that_of_the_image_that_opencv_shrinks_enlarged_by_opencv(size, scale) -> None:
    images, plain = make_images(*size), make_model()
    found = make_model(scale).predict_depth(to_batch(images)).numpy()
    assert found.shape == (2, 1, *size)
    small = np.stack([resize_image(image, scale) for image in images])
    with torch.no_grad():
        z = plain(to_batch(small)).numpy()[:, 0]
    expected = np.exp([cv2.resize(one, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for one in z])
    ratio = np.abs(np.log(found[:, 0] / expected))
    assert ratio.max() < 0.05  # some levels differ by one
    assert ratio.mean() < 0.003
    assert np.log(found).std() > 0.1


@pytest.mark.filterwarnings("ignore:the checkpoint does not tell the focal length")
def test_at_full_resolution_nothing_is_resized_or_blended_otherwise_than_without_a_scale() -> None:
    images, model = make_images(300, 401), make_model(log_depth_mean=1.5)

    def plain(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            z = model.unet((to_batch(image[None]) - model.mean) / model.deviation) + 1.5
            return z.clamp(math.log(0.05), math.log(1000.0)).exp()[0, 0].numpy()

    assert np.array_equal(model.predict_depth(to_batch(images))[0, 0].numpy(), plain(images[0]))
    assert np.array_equal(model.predict(images[0]), plain(images[0]))
    tiled = model.predict(images[0], tile_pixels=1 << 16)
    assert np.array_equal(tiled, predict_tiled(plain, images[0], 1 << 16))
    assert not np.array_equal(tiled, plain(images[0]))


@pytest.mark.filterwarnings("ignore:the checkpoint does not tell the focal length")
@pytest.mark.parametrize("scale", [0.5, 0.37])
def test_a_large_image_in_tiles_has_no_seams(scale: float) -> None:
    image, model = make_images(1201, 903)[0], make_model(scale)
    whole, tiled = (model.predict(image, tile_pixels=pixels) for pixels in (1 << 20, 1 << 16))
    assert whole.shape == tiled.shape == image.shape[:2]
    assert np.array_equal(whole, model.predict_depth(to_batch(image[None]))[0, 0].numpy())
    assert np.allclose(tiled, whole, rtol=1e-4)


def test_tiles_are_no_larger_than_asked_for_as_the_network_sees_them() -> None:
    seen: list[int] = []
    model = make_model(0.5)
    model.unet.register_forward_hook(lambda module, given, made: seen.append(made[0, 0].numel()))
    model.predict(make_images(1000, 1000)[0], focal_px=50.0, tile_pixels=1 << 16)
    assert len(seen) > 1
    assert max(seen) <= 1 << 16
    seen.clear()
    model.predict(make_images(510, 510)[0], focal_px=50.0, tile_pixels=1 << 16)  # 255 x 255 as it is seen
    assert seen == [255 * 255]


@pytest.mark.filterwarnings("ignore:the checkpoint does not tell the focal length")
@pytest.mark.parametrize(("shape", "scale"), [((1, 1), 0.5), ((31, 33), 0.01), ((64, 96), 0.3), ((50, 131), 0.9)])
def test_a_u_net_takes_any_size_and_scale(blank_unet: nn.Module, shape: tuple[int, int], scale: float) -> None:
    model = DepthUnet(blank_unet, {"log_depth_mean": 1.0, "scale": scale}).eval()
    assert np.allclose(model.predict(np.zeros((*shape, 3), np.uint8)), np.e)


@pytest.fixture(scope="module")
def thin_set(make_set: Callable[..., ShardSet]) -> ShardSet:
    """Walls at 5 m, with wires of one pixel in front of them and holes."""
    views = []
    for number in range(4):
        depth = np.full((48, 64), 5.0, np.float32)
        depth[:, 7 + number :: 11] = 1.0
        depth[3 * number, :] = 80.0
        mask = np.random.default_rng(number).random(depth.shape) > 0.2
        views.append((f"{number % 2:05d}", depth, mask))
    return make_set(views, "val")


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
def test_truth_is_never_resized(thin_set: ShardSet, blank_unet: nn.Module, scale: float) -> None:
    model = DepthUnet(blank_unet, {"log_depth_mean": math.log(5.0), "scale": scale}).eval()
    named = NamedPredictor(predictor=model, name="", fingerprint="")
    found = evaluate_model(named, thin_set).mean("headline")
    truths = [sample.depth[sample.valid].astype(np.float64) for sample in thin_set.read(range(4))]
    assert found["abs_rel"] == pytest.approx(np.mean([(np.abs(5 - g) / g).mean() for g in truths]), rel=1e-6)
    assert found["rmse"] == pytest.approx(np.mean([np.sqrt(((5 - g) ** 2).mean()) for g in truths]), rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
def test_validation_while_training_is_evaluation(thin_set: ShardSet, scale: float) -> None:
    model = make_model(scale, log_depth_mean=1.0)
    model.on_validation_epoch_start()
    loading = Loading(batch_size=3, num_workers=0, pin_memory=False)
    with torch.no_grad():
        for batch in build_loader(DiodeDepthDataset(thin_set), EvalSampler(4, 3), loading):
            model.validation_step(batch, 0)
    found = model.validation_means()
    named = NamedPredictor(predictor=model, name="", fingerprint="")
    assert evaluate_model(named, thin_set).mean("headline") == pytest.approx({name: found[name] for name in METRICS})


def test_training_sees_its_views_as_they_are() -> None:
    batch = to_batch(make_images(40, 48))
    assert torch.equal(make_model(0.5)(batch), make_model()(batch))


def test_the_scale_is_kept_and_older_checkpoints_have_none(tmp_path, blank_unet: nn.Module) -> None:
    model = DepthUnet(blank_unet, {"encoder_name": "resnet18", "scale": 0.5})
    state = {key: value.flatten()[0].clone().expand(value.shape) for key, value in model.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": dict(model.hparams)}  # a few KB: every tensor is constant
    torch.save(content, tmp_path / "new.ckpt")
    assert DepthUnet.load(tmp_path / "new.ckpt").scale == 0.5
    for name in ("scale", "gradient_weight", "depth_kind"):
        del content["hyper_parameters"][name]
    torch.save(content, tmp_path / "old.ckpt")
    older = DepthUnet.load(tmp_path / "old.ckpt")
    assert (older.scale, older.options.gradient_weight, older.options.depth_kind) == (1.0, 0.0, "metric")


def test_validation_of_depth_up_to_scale_does_not_depend_on_units() -> None:
    model = make_model(0.5, depth_kind="up_to_scale", loss="si_log", gradient_weight=0.3)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": to_batch(make_images(40, 48)),
        "depth": torch.rand((2, 1, 40, 48), generator=generator) * 20 + 1,
        "valid": torch.rand((2, 1, 40, 48), generator=generator) > 0.3,
        "weight": torch.ones(2),
        "key": ["a", "b"],
    }
    found = []
    for factor in (1.0, 7.0, 1e-4):
        model.on_validation_epoch_start()
        with torch.no_grad():
            model.validation_step(batch | {"depth": batch["depth"] * factor}, 0)
        found.append(model.validation_means())
    for name in ("loss", "abs_rel", "rmse_log", "log10", "silog", "delta1"):
        assert [one[name] for one in found[1:]] == pytest.approx([found[0][name]] * 2, rel=1e-5)
    assert found[0]["delta1"] > 0


def test_hyperparameters_with_a_scale_are_plain_numbers() -> None:
    assert asdict(as_hyperparameters({"scale": 0.25}))["scale"] == 0.25
