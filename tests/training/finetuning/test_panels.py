from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sharding.format.sample import Sample
from sharding.reading.pictures import INVALID_COLOR, color_bar, colorize_depth, depth_range, fit_side
from training.evaluation.error_colours import error_bar
from training.finetuning.panels import ERROR_SCALE_FACTOR, at_median, describe_error, draw_panel, spread_rows

BLUE, WHITE, RED = (5, 48, 97), (247, 247, 247), (103, 0, 31)
TOP, HEIGHT, WIDTH, BAR = 12 + 44, 256, 384, 84  # pixels: of a sample of 8 x 12, enlarged 32 times
LEFT = [12, 12 + 384 + 12, 12 + 384 + 12 + 474 + 12, 12 + 384 + 12 + 2 * (474 + 12)]  # of the four pictures
GAP = 6  # between a picture and its bar


@pytest.fixture
def sample() -> Sample:
    random = np.random.default_rng(0)
    depth = random.uniform(2, 50, (8, 12)).astype(np.float32)
    valid = random.random((8, 12)) > 0.3
    depth[~valid] = np.nan
    return Sample(key="view", image=random.integers(0, 256, (8, 12, 3), dtype=np.uint8), depth=depth, valid=valid)


def pictures(panel: Image.Image) -> list[np.ndarray]:
    """The four pictures of a panel, at the size of the sample."""
    whole = np.asarray(panel)
    assert whole.shape == (2 * 12 + 44 + HEIGHT, LEFT[3] + 474 + 12, 3)
    shown = [whole[TOP : TOP + HEIGHT, left : left + WIDTH] for left in LEFT]
    small = [one[16::32, 16::32] for one in shown]
    assert all(np.array_equal(a.repeat(32, 0).repeat(32, 1), b) for a, b in zip(small, shown, strict=True))
    return small


def times(sample: Sample, factor: float) -> np.ndarray:
    return np.where(sample.valid, sample.depth * factor, 5).astype(np.float32)


def test_a_panel_shows_image_truth_prediction_and_error_side_by_side(sample):
    image, truth, predicted, error = pictures(draw_panel(sample, times(sample, 1)))
    assert np.array_equal(image, sample.image)
    assert np.array_equal(truth, colorize_depth(sample.depth, sample.valid, *depth_range([sample])))
    assert np.array_equal(truth[sample.valid], predicted[sample.valid])
    assert (error[sample.valid] == WHITE).all()
    assert (truth[~sample.valid] == INVALID_COLOR).all()
    assert (error[~sample.valid] == INVALID_COLOR).all()
    assert (predicted[~sample.valid] != INVALID_COLOR).any()  # it is predicted there, too


@pytest.mark.parametrize(("factor", "colour"), [(0.5, BLUE), (0.1, BLUE), (1.0, WHITE), (2.0, RED), (9.0, RED)])
def test_the_error_has_a_sign(sample, factor, colour):
    error = pictures(draw_panel(sample, times(sample, factor)))[3]
    assert (error[sample.valid] == colour).all()


def test_each_scale_has_its_bar(sample):
    whole = np.asarray(draw_panel(sample, times(sample, 1.5)))
    found = [whole[TOP : TOP + HEIGHT, left + WIDTH + GAP : left + WIDTH + GAP + BAR] for left in LEFT[1:]]
    metres = np.asarray(color_bar(HEIGHT, *depth_range([sample])))
    factors = np.asarray(error_bar(HEIGHT, ERROR_SCALE_FACTOR))
    assert all(np.array_equal(a, b) for a, b in zip(found, (metres, metres, factors), strict=True))


def heads(panel: Image.Image) -> list[np.ndarray]:
    whole = np.asarray(panel)[:TOP]
    return np.split(whole, [left - 1 for left in LEFT[1:]], axis=1)


def test_words_stand_above_each_column_with_the_key_and_the_samples_log10(sample):
    right, wrong = (heads(draw_panel(sample, times(sample, factor))) for factor in (1, 1.5))
    renamed = heads(draw_panel(replace(sample, key="another"), times(sample, 1)))
    assert all((head < 128).all(axis=-1).sum() > 100 for head in right)  # black letters
    assert [np.array_equal(a, b) for a, b in zip(right, wrong, strict=True)] == [True, True, True, False]
    assert [np.array_equal(a, b) for a, b in zip(right, renamed, strict=True)] == [False, True, True, True]


def test_depth_up_to_scale_is_shown_multiplied_to_the_median_and_never_in_metres(sample):
    panels = [draw_panel(sample, times(sample, factor), "up_to_scale") for factor in (0.02, 1, 300)]
    _, measured, predicted, error = pictures(panels[0])
    assert np.array_equal(measured[sample.valid], predicted[sample.valid])
    assert (error[sample.valid] == WHITE).all()
    metric = draw_panel(sample, times(sample, 1))
    same = [np.array_equal(a, b) for a, b in zip(heads(panels[1]), heads(metric), strict=True)]
    assert same == [True, False, False, True]  # the words of both depths
    bars = [np.asarray(one)[TOP:, LEFT[1] + WIDTH + GAP :][:, :BAR] for one in (panels[1], metric)]
    assert not np.array_equal(*bars)  # no "m"
    assert describe_error(sample.depth, sample.valid, times(sample, 40), "up_to_scale") == "log10 0.0000"


def test_a_long_key_is_cut_within_its_column(sample):
    head = np.asarray(draw_panel(replace(sample, key="k" * 200), times(sample, 1)))[:TOP]
    assert (head[:, LEFT[1] - 12 : LEFT[1]] == 255).all()
    assert (head[:, LEFT[1] - 40 : LEFT[1] - 12] < 128).any()


def test_log10_is_that_of_validation(sample):
    assert describe_error(sample.depth, sample.valid, times(sample, 1.25)) == "log10 0.0969"
    depth, valid = np.full((4, 4), 2, np.float32), np.zeros((4, 4), bool)
    assert describe_error(depth, valid, depth) == "too little was measured"


def test_of_a_large_depth_map_no_colour_is_mixed():
    stripes = np.zeros((600, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    small = np.asarray(fit_side(stripes, 384, Image.Resampling.NEAREST))
    assert small.shape == (230, 384, 3)
    assert set(np.unique(small)) == {0, 255}
    assert set(np.unique(np.asarray(fit_side(stripes, 384)))) - {0, 255}  # of a photo they are


@pytest.mark.parametrize("shape", [(400, 100), (20, 600), (1, 1)])
def test_a_narrow_or_flat_image_has_room_for_its_words(shape):
    ones = np.ones(shape, np.float32)
    sample = Sample(key="view", image=np.zeros((*shape, 3), np.uint8), depth=ones, valid=ones > 0)
    panel = draw_panel(sample, ones)
    assert panel.width >= 4 * 300 + 5 * 12
    assert panel.height >= 140 + 44 + 2 * 12


@pytest.mark.parametrize(
    ("total", "count", "rows"), [(8, 4, [1, 3, 5, 7]), (100, 4, [12, 37, 62, 87]), (3, 4, [0, 1, 2])]
)
def test_the_shown_samples_are_spread_over_the_set(total, count, rows):
    assert spread_rows(total, count) == rows


def test_depth_up_to_scale_is_shown_at_the_median_of_the_truth() -> None:
    depth = np.array([[2, 4, 8, 500]], np.float32)
    assert np.allclose(at_median(depth / 100, depth, depth < 100), depth)
