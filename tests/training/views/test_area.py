import cv2
import numpy as np
import pytest
import torch

from training.views.area import enlarge, shrink
from training.views.boxes import WINDOW_PIXELS, Boxes, chunk


def make_boxes(image, boxes, flips=None):
    """Boxes (left, top, width, height) of one image."""
    left, top, width, height = np.array(boxes, float).T
    horizontal, vertical = np.array(flips or [(0, 0)] * len(boxes), float).T
    return Boxes(
        first=np.zeros(len(boxes), np.int64),
        stride=np.full(len(boxes), image.shape[1]),
        left=left,
        top=top,
        width=width,
        height=height,
        horizontal=horizontal,
        vertical=vertical,
    )


def resize(image, boxes, height, width):
    """Ours, (n, height, width, 3), in whatever parts."""
    pixels = torch.from_numpy(image.copy()).view(-1, 3)
    made = np.empty((len(boxes.left), height, width, 3))
    enlarged = boxes.enlarged(height, width)
    for function, places in ((shrink, np.flatnonzero(~enlarged)), (enlarge, np.flatnonzero(enlarged))):
        for part in chunk(boxes.take(places)):
            some = boxes.take(places[part])
            made[places[part]] = function(some.gather(pixels), some, height, width).permute(0, 2, 3, 1).numpy()
    return made


def cv2_resize(image, box, flip, height, width):
    left, top, across, down = box
    crop = np.ascontiguousarray(image[top : top + down, left : left + across])
    made = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)
    return made[:: -1 if flip[1] else 1, :: -1 if flip[0] else 1].astype(float)


def draw_boxes(shape, count, most, seed):
    random = np.random.default_rng(seed)
    sizes = [
        (random.integers(1, min(most, shape[1]) + 1), random.integers(1, min(most, shape[0]) + 1)) for _ in range(count)
    ]
    places = [(random.integers(0, shape[1] - w + 1), random.integers(0, shape[0] - h + 1)) for w, h in sizes]
    return [(*map(int, place), *map(int, size)) for place, size in zip(places, sizes, strict=True)]


@pytest.mark.parametrize(("height", "width"), [pytest.param(224, 224, marks=pytest.mark.slow), (96, 96), (50, 81)])
def test_boxes_of_all_sizes_are_resized_as_cv2_does(photos, height, width):
    worst, exact = 0.0, 0
    for number, photo in enumerate(photos):
        boxes = draw_boxes(photo.shape, 8, 800, number) + draw_boxes(photo.shape, 8, 100, number)
        flips = [(at % 2, at // 2 % 2) for at in range(len(boxes))]
        made = resize(photo, make_boxes(photo, boxes, flips), height, width)
        for one, box, flip in zip(made, boxes, flips, strict=True):
            difference = np.abs(one - cv2_resize(photo, box, flip, height, width))
            assert difference.max() <= 1
            worst = max(worst, difference.mean())
            exact += bool((difference == 0).all() and (box[2] < width or box[3] < height))
    assert worst <= 0.02  # of 255; rounding of a sum that is close to a half
    assert exact >= 20, "enlarged views are bit for bit those of cv2"


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_whole_multiples_round_halves_as_cv2_does(photos, factor):
    box = (3, 5, 32 * factor, 64 * factor)
    made = resize(photos[0], make_boxes(photos[0], [box]), 64, 32)[0]
    assert np.abs(made - cv2_resize(photos[0], box, (0, 0), 64, 32)).mean() <= 0.01
    if factor in (1, 2, 4, 8):
        assert np.array_equal(made, cv2_resize(photos[0], box, (0, 0), 64, 32))


def test_a_box_of_fractions_is_the_mean_of_what_it_covers():
    ramp = np.arange(12, dtype=np.uint8)[None, :, None].repeat(4, axis=0).repeat(3, axis=2) * 20
    boxes = make_boxes(ramp, [(1.25, 0.5, 6.5, 3.0)])
    made = resize(ramp, boxes, 2, 2)[0, :, :, 0]
    # [1.25, 4.5) covers 0.75 of pixel 1, pixels 2 and 3, half of pixel 4; [4.5, 7.75) half of 4, 5, 6, 0.75 of 7.
    first = 20 * (0.75 * 1 + 2 + 3 + 0.5 * 4) / 3.25
    second = 20 * (0.5 * 4 + 5 + 6 + 0.75 * 7) / 3.25
    assert made.tolist() == [[round(first), round(second)]] * 2


def test_a_view_does_not_depend_on_what_is_rendered_with_it(photos):
    boxes = make_boxes(photos[0], draw_boxes(photos[0].shape, 12, 800, 5))
    together = resize(photos[0], boxes, 96, 96)
    alone = [resize(photos[0], boxes.take(np.array([at])), 96, 96)[0] for at in range(12)]
    assert np.array_equal(together, np.stack(alone))


def test_every_box_is_in_one_part_and_parts_are_bounded():
    random = np.random.default_rng(0)
    sizes = random.integers(1, 3000, (300, 2)).astype(float)
    boxes = make_boxes(np.empty((1, 3000, 3)), np.concatenate([np.zeros((300, 2)), sizes], axis=1))
    parts = list(chunk(boxes))
    assert sorted(np.concatenate(parts)) == list(range(300))
    for part in parts:
        windows = len(part) * boxes.rows[part].max() * boxes.columns[part].max()
        assert len(part) == 1 or windows <= WINDOW_PIXELS
    padding = sum(len(part) * boxes.rows[part].max() * boxes.columns[part].max() for part in parts)
    assert padding < 2 * (boxes.rows * boxes.columns).sum()
    assert list(chunk(boxes.take(np.array([], np.int64)))) == []
