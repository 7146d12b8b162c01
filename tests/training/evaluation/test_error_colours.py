import numpy as np
import pytest

from sharding.reading.pictures import INVALID_COLOR
from training.evaluation.error_colours import error_bar, paint_error, paint_log_ratio

BLUE, WHITE, RED = [5, 48, 97], [247, 247, 247], [103, 0, 31]
ONES = np.ones((2, 3), np.float32)
VALID = np.ones((2, 3), bool)


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_too_near_is_blue_right_is_white_too_far_is_red(factor):
    depth = np.array([[1 / factor, 1, factor]], np.float32) * 7
    assert paint_error(depth, 7 * ONES[:1], VALID[:1], factor)[0].tolist() == [BLUE, WHITE, RED]


def test_a_third_of_the_scale_on_either_side_has_its_own_colour():
    depth = np.array([[2 ** (-1 / 3), 1, 2 ** (2 / 3)]], np.float32)
    assert paint_error(depth, ONES[:1], VALID[:1], 2.0)[0].tolist() == [[166, 209, 229], WHITE, [214, 96, 77]]


def test_errors_beyond_the_scale_take_its_end():
    assert paint_log_ratio(np.array([[-9.0, -1.0, 1.0, 9.0]]))[0].tolist() == [BLUE, BLUE, RED, RED]


def test_grey_is_where_nothing_was_measured_whatever_stands_there():
    valid = VALID.copy()
    valid[0] = False
    truth = ONES.copy()
    truth[0] = [np.nan, 0, -1]
    colours = paint_error(ONES, truth, valid, 4.0)
    assert (colours[0] == INVALID_COLOR).all()
    assert (colours[1] == WHITE).all()


def test_the_bar_runs_from_too_far_to_too_near_with_a_mark_at_each_ratio():
    bar = np.asarray(error_bar(201, 2.0))
    assert bar[[0, 100, 200], 5].tolist() == [RED, WHITE, BLUE]
    marks = np.flatnonzero((bar[:, 18] == 0).all(axis=-1))  # the small lines beside the bar
    expected = [100 - 100 * np.log2(ratio) for ratio in (2, 1.5, 1.2, 1, 1 / 1.2, 1 / 1.5, 1 / 2)]
    assert np.abs(marks - expected).max() <= 1
    assert len(np.flatnonzero((np.asarray(error_bar(201, 4.0))[:, 18] == 0).all(axis=-1))) == 11  # 3 and 4, too
