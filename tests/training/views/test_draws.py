"""Against LightlyTrain's own draws: 10^4 of each parameter, both with fixed seeds, so that no test fails by chance."""

import random

import numpy as np
import pytest
from scipy import stats

from training.views.draws import ORDERS, draw_views
from training.views.recipe import ViewRecipe, read_recipe

COUNT = 10_000
SIZE = (90, 160)  # wide: many boxes of a large area do not fit at first
LEAST_P = 1e-4
UNKNOWN_SIGMA = 0.5  # below, the kernel is 1 or almost
CASES = [
    *(("simclr", choice, 0) for choice in ("default", "conservative", "aggressive")),
    *(("dino", choice, number) for choice in ("default", "conservative", "aggressive") for number in (0, 1, 2)),
]
FAST = ("dino", "aggressive", 1)  # has every operation


def their_draws(view, seed):
    """What LightlyTrain's view draws, by the public methods of albumentations."""
    ops = {type(op).__name__: op for op in view.transform.transforms}
    shared = np.random.default_rng(seed), random.Random(seed)
    for op in ops.values():
        op.set_random_state(*shared)
    rows = []
    for _ in range(COUNT):
        row = {}
        for name, op in ops.items():
            if not op.should_apply():
                continue
            shape = (*SIZE, 3) if name == "RandomResizedCrop" else (*op_size(ops), 3)
            row[name] = op.get_params() | op.get_params_dependent_on_data({"shape": shape}, {})
        rows.append(row)
    return rows


def op_size(ops):
    return ops["RandomResizedCrop"].size


def named(rows):
    """Their rows as columns with our names; NaN where an operation was not applied."""
    nan = float("nan")
    left, top, right, bottom = np.array([row["RandomResizedCrop"]["crop_coords"] for row in rows], float).T
    kernels = [row["GaussianBlur"]["kernel"] if "GaussianBlur" in row else None for row in rows]
    jitter = [row.get("ColorJitter", {}) for row in rows]
    matrices = [row["Rotate"]["matrix"] if "Rotate" in row else None for row in rows]
    return {
        "left": left,
        "top": top,
        "width": right - left,
        "height": bottom - top,
        "horizontal": np.array(["HorizontalFlip" in row for row in rows], float),
        "vertical": np.array(["VerticalFlip" in row for row in rows], float),
        "angle": np.array([nan if m is None else np.degrees(np.arctan2(m[0, 1], m[0, 0])) for m in matrices]),
        **{name: np.array([one.get(name, nan) for one in jitter]) for name in ("brightness", "contrast")},
        **{name: np.array([one.get(name, nan) for one in jitter]) for name in ("saturation", "hue")},
        "order": np.array([ORDERS.index(tuple(one["order"])) if one else nan for one in jitter]),
        "grey": np.array(["ToGray" in row for row in rows], float),
        "side": np.array([nan if kernel is None else len(kernel) for kernel in kernels]),
        "sigma": np.array([sigma_of(kernel) for kernel in kernels]),
        "threshold": np.array([row["Solarize"]["threshold"] if "Solarize" in row else nan for row in rows]),
    }


def sigma_of(kernel):
    if kernel is None:
        return float("nan")
    if len(kernel) == 1:
        return UNKNOWN_SIGMA
    middle = len(kernel) // 2
    return max(UNKNOWN_SIGMA, np.sqrt(-0.5 / np.log(kernel[middle + 1] / kernel[middle])))


def our_draws(recipe: ViewRecipe):
    seeds = [(7, 0, sample, 0) for sample in range(COUNT)]
    draws = draw_views([recipe, recipe], seeds, np.tile(SIZE, (COUNT, 1)))
    return {name: getattr(draws, name)[:, 1] for name in draws.__dataclass_fields__}


def applied(ours):
    """Ours with NaN where an operation was not applied."""
    jittered = ours["brightness"] != 1
    blurred = ours["sigma"] > 0
    return ours | {
        "angle": np.where(ours["angle"] == 0, np.nan, ours["angle"]),
        **{name: np.where(jittered, ours[name], np.nan) for name in ("brightness", "contrast", "saturation")},
        **{name: np.where(jittered, ours[name], np.nan) for name in ("hue", "order")},
        "side": np.where(blurred, ours["side"], np.nan),
        "sigma": np.where(blurred, np.maximum(ours["sigma"], UNKNOWN_SIGMA), np.nan),
        "threshold": np.where(np.isfinite(ours["threshold"]), ours["threshold"], np.nan),
    }


def test_counts(one, other):
    """The p-value of two samples of a discrete number being of one distribution."""
    values = np.union1d(one, other)
    if len(values) < 2:
        return 1.0
    return stats.chi2_contingency([[np.sum(sample == value) for value in values] for sample in (one, other)]).pvalue


test_counts.__test__ = False


@pytest.mark.parametrize("case", [pytest.param(case, marks=[] if case == FAST else pytest.mark.slow) for case in CASES])
def test_each_number_has_lightlytrains_distribution(transforms, case):
    method, choice, number = case
    transform = transforms[method, choice]
    theirs = named(their_draws(transform.transforms[number], seed=3))
    ours = applied(our_draws(read_recipe(transform)[number]))
    assert theirs.keys() == ours.keys()
    for name, found in ours.items():
        expected = theirs[name]
        # The probability of being applied, then the number itself.
        assert test_counts(np.isnan(found), np.isnan(expected)) > LEAST_P, name
        found, expected = found[~np.isnan(found)], expected[~np.isnan(expected)]
        if name in ("horizontal", "vertical", "grey", "order", "side", "threshold"):
            assert test_counts(found, expected) > LEAST_P, name
        elif len(expected):
            assert stats.ks_2samp(found, expected).pvalue > LEAST_P, name
    for name in ("area", "ratio"):
        pair = [size(name, sample) for sample in (ours, theirs)]
        assert stats.ks_2samp(*pair).pvalue > LEAST_P, name


def size(name, sample):
    return sample["width"] * sample["height"] if name == "area" else sample["width"] / sample["height"]


def test_the_tests_above_notice_a_distribution_that_is_a_little_another():
    low, high = np.random.default_rng(0).uniform(0.2, 1.8, COUNT), np.random.default_rng(1).uniform(0.2, 1.72, COUNT)
    assert stats.ks_2samp(low, high).pvalue < LEAST_P
    coins = [np.random.default_rng(seed).random(COUNT) < p for seed, p in ((0, 0.5), (1, 0.54))]
    assert test_counts(*coins) < LEAST_P


def test_numbers_of_a_view_and_views_of_an_image_are_independent(transforms):
    recipe = read_recipe(transforms["dino", "aggressive"])
    draws = draw_views(recipe, [(1, 0, sample, 0) for sample in range(COUNT)], np.tile(SIZE, (COUNT, 1)))
    drawn = np.stack([draws.horizontal, draws.vertical, draws.angle, draws.hue, draws.grey, draws.left], 0)
    together = drawn[:, :, [0, 1, 2, 7]].transpose(0, 2, 1).reshape(-1, COUNT)
    off_diagonal = np.corrcoef(together)[~np.eye(len(together), dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.06  # 0.04 is four standard deviations; left depends on the area a little


def test_draws_follow_from_the_seed_alone(transforms):
    recipe = read_recipe(transforms["dino", "conservative"])
    seeds = [(0, epoch, sample, replica) for epoch in (0, 1) for sample in (4, 9) for replica in (0, 1)]
    sizes = np.array([(60 + at, 80) for at in range(len(seeds))])
    whole = draw_views(recipe, seeds, sizes).pack()
    alone = [draw_views(recipe, [seed], sizes[at : at + 1]).pack()[0] for at, seed in enumerate(seeds)]
    assert np.array_equal(whole, np.stack(alone))
    angles = whole[..., list(draw_views(recipe, seeds, sizes).__dataclass_fields__).index("angle")]
    assert len(np.unique(angles)) == angles.size


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 5), (500, 40), (224, 224)])
def test_boxes_are_in_the_image(size):
    recipe = [ViewRecipe(height=32, width=32, scale=(0.08, 1.0), ratio=(0.75, 4 / 3))]
    draws = draw_views(recipe, [(sample,) for sample in range(500)], np.tile(size, (500, 1)))
    assert (draws.left >= 0).all()
    assert (draws.top >= 0).all()
    assert (draws.width >= 1).all()
    assert (draws.height >= 1).all()
    assert (draws.left + draws.width <= size[1]).all()
    assert (draws.top + draws.height <= size[0]).all()
