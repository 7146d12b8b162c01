import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.photo_options import MIN_TILE_PIXELS
from training.prediction.tiles import GRID_PX, plan_spans, predict_tiled, tile_size

LENGTHS = st.integers(1, 9000)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(LENGTHS, LENGTHS, st.integers(MIN_TILE_PIXELS, 1 << 22))
def test_tiles_have_at_most_the_pixels_and_lie_on_the_grid(height: int, width: int, most: int) -> None:
    tile = tile_size(height, width, most)
    assert tile[0] * tile[1] <= most
    for side, length in zip(tile, (height, width), strict=True):
        assert side == length or (side < length and side % GRID_PX == 0 and side >= 256)
    assert (tile == (height, width)) == (height * width <= most)


@given(st.integers(257, 9000), st.integers(8, 60))
def test_weights_add_up_to_1_everywhere_and_are_0_at_inner_borders(length: int, blocks: int) -> None:
    tile = blocks * GRID_PX
    total = np.zeros(length)
    spans = plan_spans(length, tile)
    for span in spans:
        assert span.start % GRID_PX == 0
        assert span.end - span.start == len(span.weight) <= max(tile, length if tile >= length else 0)
        total[span.pixels] += span.weight
        border = min(256, tile // 4 // GRID_PX * GRID_PX) // 4
        if span.start > 0:
            assert not span.weight[:border].any()
        if span.end < length:
            assert not span.weight[-border:].any()
    assert np.allclose(total, 1, atol=1e-6)
    assert spans[0].start == 0
    assert spans[-1].end == length


def test_weights_have_no_step() -> None:
    for span in plan_spans(3000, 1024):
        assert np.abs(np.diff(span.weight)).max() < 0.02  # a ramp of 128 pixels, twice as steep in its middle


def test_a_small_image_is_predicted_as_a_whole() -> None:
    image, seen = noise(250, 262), []
    predict_tiled(lambda part: seen.append(part) or np.zeros(part.shape[:2], np.float32), image, MIN_TILE_PIXELS)
    assert [part is image for part in seen] == [True]


def test_a_constant_and_a_network_of_single_pixels_are_the_same_in_tiles() -> None:
    image = noise(701, 900)
    constant = predict_tiled(lambda part: np.full(part.shape[:2], 7.25, np.float32), image, MIN_TILE_PIXELS)
    assert np.allclose(constant, 7.25, rtol=1e-6)
    mean = predict_tiled(lambda part: part.mean(axis=2, dtype=np.float32), image, MIN_TILE_PIXELS)
    assert np.allclose(mean, image.mean(axis=2, dtype=np.float32), rtol=1e-6, atol=1e-5)


def box_mean(radius: int):
    """Return a network: the mean of a square of pixels, zeros beyond the border of what it is given."""

    def predict(part: np.ndarray) -> np.ndarray:
        padded = np.pad(part.mean(axis=2), ((radius + 1, radius), (radius + 1, radius)))
        sums = padded.cumsum(0).cumsum(1)  # [y, x]: of all pixels above and to the left
        side = 2 * radius + 1
        box = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        return (box / side**2).astype(np.float32)

    return predict


def test_a_network_that_sees_less_than_an_overlap_is_the_same_in_tiles_and_one_that_sees_more_is_not() -> None:
    image = noise(600, 1000)  # tiles of 256, overlaps of 64, of which a border of 16 is not used
    for radius, same in ((16, True), (40, False)):
        whole, tiled = box_mean(radius)(image), predict_tiled(box_mean(radius), image, MIN_TILE_PIXELS)
        assert np.allclose(tiled, whole, rtol=1e-5) == same


def test_the_largest_part_that_is_predicted_is_a_tile() -> None:
    sizes = []

    def predict(part: np.ndarray) -> np.ndarray:
        sizes.append(part.shape[0] * part.shape[1])
        return np.zeros(part.shape[:2], np.float32)

    predict_tiled(predict, np.zeros((1200, 3000, 3), np.uint8), MIN_TILE_PIXELS)
    assert max(sizes) <= MIN_TILE_PIXELS
    assert len(sizes) > 50


@pytest.mark.parametrize(("height", "width"), [(20, 40000), (40000, 20)])
def test_a_strip_has_long_tiles(height: int, width: int) -> None:
    tile = tile_size(height, width, MIN_TILE_PIXELS)
    assert sorted(tile) == [20, 3264]
