"""The picture of a run's first views."""

import numpy as np
import pytest
import torch
from PIL import Image

from sharding.errors import UsageError
from training.config import PretrainConfig
from training.pretraining import pretrain
from training.views.preview import lay_out, to_pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_pixels_of_normalised_views_are_those_they_were_made_of():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3)).astype(np.uint8)
    views = (torch.from_numpy(pixels / 255).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    assert np.array_equal(to_pixels(views.permute(0, 3, 1, 2), MEAN, STD), pixels)


def test_images_are_rows_and_views_are_columns():
    large, small = (np.full((2, side, side, 3), side, np.uint8) for side in (20, 8))
    large[1] += 1
    picture = lay_out([large, small])
    assert picture.shape == (2 * 24, 24 + 12, 3)
    assert (picture[:20, :20] == 20).all()
    assert (picture[24:44, :20] == 21).all()
    assert (picture[:8, 24:32] == 8).all()
    assert (picture[8:24, 24:] == 255).all()


@pytest.mark.slow
@pytest.mark.parametrize("views", ["cpu", pytest.param("gpu", marks=pytest.mark.slow)])
def test_the_views_of_the_first_images_are_written_as_the_network_gets_them(megadepth_set, tmp_path, views):
    file = tmp_path / "views.png"
    options = PretrainConfig(
        sets=(megadepth_set.url,), out=str(tmp_path / "run"), model="torchvision/resnet18", method="simclr", epochs=1,
        batch_size=8, image_size=32, num_workers=0, accelerator="cpu", devices="1", views=views, preview=str(file),
        vertical_flip=0.0, rotation=0.0,
    )  # fmt: skip
    pretrain.run(options)
    pixels = np.asarray(Image.open(file))
    assert pixels.shape == (4 * 36, 2 * 36, 3)
    cells = [pixels[36 * row : 36 * row + 32, 36 * column : 36 * column + 32] for row in range(4) for column in (0, 1)]
    assert len({cell.tobytes() for cell in cells}) == 8
    assert all(cell.std() > 1 for cell in cells)
    assert (pixels[32:36] == 255).all()


def test_a_preview_replaces_nothing_but_a_picture(megadepth_set, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("kept")
    options = PretrainConfig(sets=(megadepth_set.url,), out=str(tmp_path / "run"), preview=str(file))
    with pytest.raises(UsageError, match="--preview"):
        pretrain.run(options)
    assert file.read_text() == "kept"
