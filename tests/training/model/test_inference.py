from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sharding.errors import DataError, UsageError
from training.baselines.fitted import RowBaseline
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import as_hyperparameters
from training.model.inference import predict_image, predict_photo
from training.prediction.camera import Camera
from training.prediction.photo import Photo

CPU = torch.device("cpu")
GREY = np.full((4, 5, 3), 100, np.uint8)


def test_prediction_goes_through_the_predictor_at_native_size() -> None:
    depth = predict_image(RowBaseline(depth_m=(np.exp(2.0), 1.0)), GREY[:2], CPU)
    assert depth.shape == (2, 5)
    assert depth.dtype == np.float32
    assert np.allclose(np.log(depth), [[2.0] * 5, [0.0] * 5], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (31, 33), (64, 96), (50, 131)])
def test_a_network_predicts_images_of_any_size(blank_unet: torch.nn.Module, shape: tuple[int, int]) -> None:
    depth = predict_image(DepthUnet(blank_unet, {"log_depth_mean": 1.0}).eval(), np.zeros((*shape, 3), np.uint8), CPU)
    assert depth.shape == shape
    assert np.allclose(depth, np.e)


class Size:
    """Predicts, as a camera of focal length 100 px does, the distance of a white thing of 1 m from its rows."""

    scale = 1.0

    def predict_depth(self, image: Tensor) -> Tensor:
        rows = (image > 127).all(1).any(2).sum(1)  # (B,)
        return (100 / rows).float().view(-1, 1, 1, 1).expand(-1, 1, *image.shape[2:])

    predict_shrunk = predict_depth


def photo_of_a_thing(focal_px: float, known: bool = True) -> Photo:
    """Take a photo of a thing of 1 m at a distance of 4 m, 60 by 80 degrees or so."""
    image = np.zeros((round(focal_px), round(1.2 * focal_px), 3), np.uint8)
    image[round(focal_px * 3 / 8) : round(focal_px * 5 / 8)] = 255
    return Photo(image=image, focal_px=focal_px if known else None)


@pytest.mark.parametrize("focal_px", [50.0, 100.0, 200.0, 400.0])
def test_a_thing_is_as_far_away_whatever_camera_took_the_photo(focal_px: float) -> None:
    camera, photo = Camera(focal_px=100.0), photo_of_a_thing(focal_px)
    depth = predict_photo(Size(), photo, camera, CPU)
    assert depth.shape == photo.image.shape[:2]
    assert np.allclose(depth, 4.0, rtol=0.05)
    wrong = predict_photo(Size(), photo_of_a_thing(focal_px, known=False), camera, CPU)
    assert np.allclose(wrong, 4.0 * 100 / focal_px, rtol=0.05)


class Convolutions(nn.Module):
    """A network of three convolutions, which sees 7 pixels around each."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 7, padding=3), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8, 1, 5, padding=2))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def test_a_convolutional_network_predicts_the_same_in_tiles() -> None:
    torch.manual_seed(0)
    model = DepthUnet(Convolutions(), {"camera_focal_px": 50.0}).eval()
    image = np.random.default_rng(0).integers(0, 256, (400, 517, 3), dtype=np.uint8)
    whole, tiled = (model.predict(image, focal_px=50.0, tile_pixels=pixels) for pixels in (400 * 517, 1 << 16))
    assert whole.std() > 0.1
    assert np.allclose(tiled, whole, rtol=1e-5)


def test_from_python_a_path_a_picture_and_an_array_give_what_the_command_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = DepthUnet(Convolutions(), {"camera_focal_px": 100.0}).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    wanted = predict_photo(model, Photo(image=pixels, focal_px=50.0), Camera(focal_px=100.0), CPU)
    for source in (tmp_path / "a.png", Image.fromarray(pixels), pixels, pixels.astype(np.uint16) * 257, pixels / 255):
        depth = model.predict(source, focal_px=50.0)
        assert depth.dtype == np.float32
        assert np.array_equal(depth, wanted)
    assert wanted.shape == (64, 80)


def test_python_warns_if_metres_hold_for_the_training_camera_alone() -> None:
    model = DepthUnet(Convolutions(), {"camera_focal_px": 100.0}).eval()
    with pytest.warns(UserWarning, match=r"metres hold for the training camera \(focal length 100 px\)"):
        model.predict(GREY)


def test_python_names_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"a\.jpg: expected a readable image"):
        DepthUnet(Convolutions()).eval().predict(tmp_path / "a.jpg")


def test_hyperparameters_keep_the_camera_and_have_none_where_they_are_older() -> None:
    known = {"camera_focal_px": 1323.0, "camera_height": 768, "camera_width": 1024}
    kept = dict(DepthUnet(Convolutions(), known).hparams)
    assert as_hyperparameters(kept).camera == Camera(focal_px=1323, height=768, width=1024)
    older = {name: value for name, value in kept.items() if name not in known}
    assert as_hyperparameters(older).camera == Camera()
    with pytest.raises(UsageError, match="lengths from 0"):
        as_hyperparameters({"camera_focal_px": -1.0})
