"""The protocols of others, each against a float64 version in numpy that was written from its formulas."""

import math
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from sharding.errors import DataError
from training.config import EvaluateConfig
from training.metrics.image_metrics import ComparedTruth, image_metrics
from training.metrics.protocols import CHOICES, DEVKIT, METRICS, UP_TO_SCALE, ZOE80GARG, Protocol


def devkit(p: np.ndarray, g: np.ndarray) -> dict[str, float]:
    """DIODE devkit: pixels of g > 0; logarithms to base 10."""
    p, g = p[g > 0], g[g > 0]
    apart = np.log10(p) - np.log10(g)
    ratio = np.where(p > g, p / g, g / p)
    return {
        "mae": np.abs(p - g).sum() / g.size,
        "rmse": math.sqrt(((p - g) ** 2).sum() / g.size),
        "abs_rel": (np.abs(p - g) / g).sum() / g.size,
        "log10": np.abs(apart).sum() / g.size,
        "rmse_log": math.sqrt((apart**2).sum() / g.size) * math.log(10),
        **{f"delta{k}": np.count_nonzero(ratio < 1.25**k) / g.size for k in (1, 2, 3)},
    }


def zoe80garg(p: np.ndarray, g: np.ndarray) -> dict[str, float]:
    """ZoeDepth with garg_crop, 1e-3 to 80 m: p clamped; 1e-3 < g < 80 within the crop."""
    height, width = g.shape
    row, column = np.mgrid[:height, :width]
    crop = (row >= int(0.40810811 * height)) & (row < int(0.99189189 * height))
    crop &= (column >= int(0.03594771 * width)) & (column < int(0.96405229 * width))
    chosen = crop & (g > 1e-3) & (g < 80)
    p, g = np.minimum(np.maximum(p, 1e-3), 80)[chosen], g[chosen]
    e = np.log(p) - np.log(g)
    ratio = np.where(p > g, p / g, g / p)
    return {
        **{f"delta{k}": np.count_nonzero(ratio < 1.25**k) / g.size for k in (1, 2, 3)},
        "abs_rel": np.mean(np.abs(g - p) / g),
        "rmse": math.sqrt(np.mean((g - p) ** 2)),
        "log10": np.mean(np.abs(np.log10(g) - np.log10(p))),
        "rmse_log": math.sqrt(np.mean(e**2)),
        "silog": 100 * math.sqrt(np.mean(e**2) - np.mean(e) ** 2),
        "sq_rel": np.mean((g - p) ** 2 / g),
    }


def draw(shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth, float32; a third of the truth is 0 or NaN, some of it far, near, or at a range's end."""
    dice = np.random.default_rng(seed)
    g = np.exp(dice.normal(2, 1.5, shape)).astype(np.float32)
    g[dice.random(shape) < 0.25], g[dice.random(shape) < 0.1] = 0, np.nan
    g.flat[:: shape[1] + 3], g.flat[1 :: shape[1] + 5], g.flat[2 :: shape[1] + 7] = 80, 5e-4, 200
    p = np.exp(dice.normal(2, 2.0, shape)).astype(np.float32)
    p.flat[0], p.flat[1] = 500, 1e-4
    return p, g


def found(p: np.ndarray, g: np.ndarray, protocol: Protocol) -> dict[str, float]:
    prediction, depth = torch.from_numpy(p)[None, None], torch.from_numpy(g)[None, None]
    values, counted = image_metrics(prediction, depth, depth > 0, protocol)
    assert counted.tolist() == [True]
    return dict(zip(METRICS, values[0].tolist(), strict=True))


@pytest.mark.parametrize("shape", [(6, 9), (37, 53), (48, 64), (96, 128)])
@pytest.mark.parametrize(("protocol", "plain"), [(DEVKIT, devkit), (ZOE80GARG, zoe80garg)])
def test_a_protocol_of_others_is_its_formulas(protocol, plain, shape) -> None:
    p, g = draw(shape)
    expected = plain(p.astype(np.float64), g.astype(np.float64))
    measured = found(p, g, protocol)
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_the_crop_of_a_diode_view_is_that_of_garg() -> None:
    """int(0.40810811 * 768) = 313, int(0.99189189 * 768) = 761, int(0.03594771 * 1024) = 36, and 987."""
    everywhere = torch.full((1, 1, 768, 1024), 2.0)
    chosen = ComparedTruth.of(everywhere, everywhere > 0, ZOE80GARG).chosen[0, 0]
    assert chosen[313:761, 36:987].all()
    assert chosen.sum() == (761 - 313) * (987 - 36)


def test_devkit_clamps_nothing() -> None:
    g = np.full((2, 6), 1000.0, np.float32)
    assert found(g * 2, g, DEVKIT)["mae"] == 1000
    assert found(g * 0 + np.float32(1e-3), g, DEVKIT)["mae"] == pytest.approx(1000 - 1e-3)


def test_devkit_needs_predictions_above_0() -> None:
    g = np.full((2, 6), 2.0, np.float32)
    with pytest.raises(DataError, match="predictions are not above 0, and this protocol does not clamp them"):
        found(g * 0, g, DEVKIT)


def test_a_single_pixel_is_enough_for_others() -> None:
    p, g = np.full((20, 20), 3.0, np.float32), np.zeros((20, 20), np.float32)
    g[10, 10] = 2.0
    assert found(p, g, DEVKIT)["mae"] == found(p, g, ZOE80GARG)["mae"] == 1.0


def test_up_to_scale_has_no_range_and_no_unit() -> None:
    """Multiplied by any factor, truth gives the same: ranges in metres would cut it off."""
    p, g = draw((20, 30), seed=1)
    g = np.where(g > 0, g, np.float32(0))
    one = found(p, g, UP_TO_SCALE)
    for factor in (1e-4, 1.0, 4096.0):
        scaled = found(p, g * np.float32(factor), UP_TO_SCALE)
        for name in ("abs_rel", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3"):
            assert scaled[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6)


def test_the_choices_are_those_of_the_option() -> None:
    assert tuple(CHOICES) == get_args(get_type_hints(EvaluateConfig)["protocol"])
    assert all(name == protocol.name for choice in CHOICES.values() for name, protocol in choice.items())
