import numpy as np
import pytest

from sharding.format.sample import Sample
from sharding.reading.pictures import INVALID_COLOR, colorize_depth
from training.finetuning.panels import draw_panel, spread_rows


@pytest.fixture
def sample() -> Sample:
    random = np.random.default_rng(0)
    depth = random.uniform(2, 50, (8, 12)).astype(np.float32)
    valid = random.random((8, 12)) > 0.3
    depth[~valid] = np.nan
    return Sample(key="view", image=random.integers(0, 256, (8, 12, 3), dtype=np.uint8), depth=depth, valid=valid)


def test_a_panel_shows_image_truth_prediction_and_error_side_by_side(sample):
    prediction = np.where(sample.valid, sample.depth, 5).astype(np.float32)
    panel = draw_panel(sample, prediction)
    image, truth, predicted, error = np.split(panel, 4, axis=1)
    assert np.array_equal(image, sample.image)
    assert np.array_equal(truth[sample.valid], predicted[sample.valid])
    assert (truth[~sample.valid] == INVALID_COLOR).all()
    right = colorize_depth(np.ones((1, 1), np.float32), np.ones((1, 1), np.bool_), 1, 2, cmap="Reds")[0, 0]
    assert (error[sample.valid] == right).all()


def test_too_near_and_too_far_by_the_same_factor_look_equally_wrong(sample):
    errors = [
        draw_panel(sample, np.where(sample.valid, sample.depth * factor, 5).astype(np.float32))[:, 36:]
        for factor in (0.8, 1.25, 1.0)
    ]
    assert np.abs(errors[0][sample.valid].astype(int) - errors[1][sample.valid]).max() <= 1
    assert (errors[0][sample.valid] != errors[2][sample.valid]).any(axis=-1).all()


@pytest.mark.parametrize(
    ("total", "count", "rows"), [(8, 4, [1, 3, 5, 7]), (100, 4, [12, 37, 62, 87]), (3, 4, [0, 1, 2])]
)
def test_the_shown_samples_are_spread_over_the_set(total, count, rows):
    assert spread_rows(total, count) == rows
