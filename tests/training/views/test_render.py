"""Whole views, against albumentations' own operations with the same draws."""

import numpy as np
import pytest
import torch

from training.loading.images import EncodedDraw
from training.views.batch import DrawCollation, read_draws
from training.views.recipe import ViewRecipe, read_recipe
from training.views.render import ViewRenderer

CPU = torch.device("cpu")
LEVELS = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255  # of a normalised unit


def make_batch(recipe, files, numbers):
    """A batch of some of the draws; draw n is of file n, modulo their number."""
    encoded = [
        EncodedDraw(key=str(at), data=files[at % len(files)], seed=(5, 0, at, 0), origin=f"key {at}") for at in numbers
    ]
    return DrawCollation(recipe)(encoded)


def differences(transform, files, decoded, their_view, count):
    """Of each view of `count` draws: the mean difference in levels, and what was drawn."""
    recipe = read_recipe(transform)
    batch = make_batch(recipe, files, range(count))
    made, draws = ViewRenderer(recipe)(batch, CPU), read_draws(batch)
    found = []
    for number, view in enumerate(transform.transforms):
        for at in range(count):
            one = {name: getattr(draws, name)[at, number] for name in draws.__dataclass_fields__}
            theirs = their_view(view, decoded[at % len(files)], one)
            found.append((float(((made["views"][number][at] - theirs) * LEVELS).abs().mean()), one))
    return found


@pytest.mark.parametrize(
    ("method", "choice"),
    [
        ("simclr", "aggressive"),
        *(pytest.param("simclr", choice, marks=pytest.mark.slow) for choice in ("default", "conservative")),
        *(pytest.param("dino", choice, marks=pytest.mark.slow) for choice in ("default", "conservative", "aggressive")),
    ],
)
def test_views_from_whole_images_are_lightlytrains(transforms, photos, encode_image, their_view, method, choice):
    files = [encode_image(photo, "PNG") for photo in photos]
    found = differences(transforms[method, choice], files, photos, their_view, 9)
    assert max(difference for difference, _ in found) <= 0.3  # of 255; hue differs by a level here and there
    plain = [d for d, one in found if (one["brightness"], one["hue"]) == (1, 0) and not np.isfinite(one["threshold"])]
    assert plain
    assert max(plain) <= 0.05  # geometry, grey and blur
    assert np.mean([difference for difference, _ in found]) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "dino"])
def test_views_from_reduced_images_are_close_to_lightlytrains(transforms, photos, encode_image, their_view, method):
    large = [photo.repeat(2, axis=0).repeat(2, axis=1) for photo in photos]  # 1200 x 1600: few views need all pixels
    files = [encode_image(photo) for photo in large]
    found = differences(transforms[method, "conservative"], files, large, their_view, 9)
    assert np.mean([difference for difference, _ in found]) <= 2.2


RECIPE = (
    ViewRecipe(height=48, width=64, scale=(0.2, 1.0), ratio=(0.75, 4 / 3)),
    ViewRecipe(height=32, width=32, scale=(0.05, 0.3), ratio=(0.75, 4 / 3)),
    ViewRecipe(height=48, width=64, scale=None),
)


def test_the_batch_is_of_lightlytrains_form(photos, encode_image):
    files = [encode_image(photo[: 90 + 10 * at]) for at, photo in enumerate(photos)]
    made = ViewRenderer(RECIPE)(make_batch(RECIPE, files, range(3)), CPU)
    assert list(made) == ["filename", "views"]
    assert made["filename"] == ["0", "1", "2"]
    assert [tuple(view.shape) for view in made["views"]] == [(3, 3, 48, 64), (3, 3, 32, 32), (3, 3, 48, 64)]
    assert all(view.dtype == torch.float32 and view.is_contiguous() for view in made["views"])


def test_nothing_is_read_back_from_the_device(transforms, photos, encode_image):
    """The meta device computes shapes alone: whatever waits for a result fails there."""
    recipe = read_recipe(transforms["dino", "aggressive"])
    files = [encode_image(photos[0]), encode_image(photos[1][:60, :70])]  # one is enlarged
    made = ViewRenderer(recipe)(make_batch(recipe, files, range(8)), torch.device("meta"))
    assert [tuple(view.shape) for view in made["views"]] == 2 * [(8, 3, 224, 224)] + 6 * [(8, 3, 96, 96)]
    assert all(view.device.type == "meta" for view in made["views"])


def test_a_view_does_not_depend_on_its_batch(transforms, photos, encode_image):
    recipe = read_recipe(transforms["dino", "aggressive"])
    files = [encode_image(photo[: 200 + 50 * at]) for at, photo in enumerate(photos)]
    render = ViewRenderer(recipe)
    together = render(make_batch(recipe, files, range(6)), CPU)["views"]
    alone = [render(make_batch(recipe, files, [at]), CPU)["views"] for at in range(6)]
    for number, views in enumerate(together):
        assert torch.equal(views, torch.cat([one[number] for one in alone]))


def test_small_images_are_enlarged_as_lightlytrain_does(transforms, photos, encode_image, their_view):
    small = [
        photo[: shape[0], : shape[1]].copy() for photo, shape in zip(photos, ((40, 60), (1, 9), (300, 20)), strict=True)
    ]
    found = differences(
        transforms["simclr", "conservative"], [encode_image(one, "PNG") for one in small], small, their_view, 6
    )
    assert max(difference for difference, _ in found) <= 2
    assert np.mean([difference for difference, _ in found]) <= 0.1
