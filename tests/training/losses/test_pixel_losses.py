import math
from typing import get_args

import numpy as np
import pytest
import torch

from training.depth_options import LossName
from training.losses.pixel_losses import EPS, LOSSES, LossSum, berhu_log, l1_log, log_error, mse, mse_log, si_log, silog

ALL = sorted(LOSSES)


def batch_of(*images):
    """Each image is a list of (log error, depth) of its valid pixels, None for an invalid one."""
    shape = (len(images), 1, 1, len(images[0]))
    depth, log_prediction = torch.zeros(shape), torch.zeros(shape)
    valid = torch.zeros(shape, dtype=torch.bool)
    for i, image in enumerate(images):
        for j, pixel in enumerate(image):
            if pixel is not None:
                error, depth[i, 0, 0, j] = pixel
                log_prediction[i, 0, 0, j] = math.log(pixel[1]) + error
                valid[i, 0, 0, j] = True
    return log_prediction, depth, valid


def random_batch(seed=0, shape=(3, 1, 6, 7)):
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(shape, generator=generator) * 80 + 0.6
    log_prediction = depth.log() + 0.3 * torch.randn(shape, generator=generator)
    return log_prediction, depth, torch.rand(shape, generator=generator) < 0.6


def test_l1_is_the_mean_absolute_log_error_of_valid_pixels():
    loss = l1_log(*batch_of([(0.5, 2.0), None, (-0.25, 40.0)], [(1.0, 3.0), None, None]))
    assert loss.total.item() == pytest.approx(0.5 + 0.25 + 1.0, rel=1e-6)
    assert loss.count.item() == 3
    assert loss.mean().item() == pytest.approx(1.75 / 3, rel=1e-6)


def test_mse_is_the_mean_squared_log_error_of_valid_pixels():
    loss = mse_log(*batch_of([(0.5, 2.0), None, (-0.25, 40.0)], [(1.0, 3.0), None, None]))
    assert loss.total.item() == pytest.approx(0.25 + 0.0625 + 1.0, rel=1e-6)
    assert loss.mean().item() == pytest.approx(1.3125 / 3, rel=1e-6)


def test_silog_is_the_formula_per_image_weighted_by_valid_pixels():
    first, second = [0.5, -0.25, 0.75], [1.0]
    loss = silog(*batch_of([(e, 5.0) for e in first], [(1.0, 3.0), None, None]))
    roots = [
        math.sqrt(sum(e * e for e in errors) / len(errors) - 0.85 * (sum(errors) / len(errors)) ** 2 + EPS)
        for errors in (first, second)
    ]
    assert loss.total.item() == pytest.approx(3 * roots[0] + 1 * roots[1], rel=1e-6)
    assert loss.count.item() == 4
    assert roots[1] == pytest.approx(math.sqrt(0.15), rel=1e-5)


def test_silog_with_lambda_one_forgives_a_wrong_scale_and_with_zero_is_the_log_rmse():
    log_prediction, depth, valid = batch_of([(0.5, 2.0), (-0.25, 40.0), (0.1, 7.0)])
    here, scaled = (silog(log_prediction + shift, depth, valid, 1.0).total.item() for shift in (0.0, math.log(3)))
    assert scaled == pytest.approx(here, rel=1e-5)
    assert silog(log_prediction + math.log(3), depth, valid).total > 1.5 * here
    rmse = math.sqrt((0.25 + 0.0625 + 0.01) / 3 + EPS)
    assert silog(log_prediction, depth, valid, 0.0).mean().item() == pytest.approx(rmse, rel=1e-6)


def test_berhu_is_linear_below_a_fifth_of_the_images_largest_error_and_square_above():
    loss = berhu_log(*batch_of([(0.1, 2.0), (-1.0, 40.0), None], [(0.1, 3.0), (-0.1, 9.0), (0.01, 2.0)]))
    first = 0.1 + (1.0 + 0.2**2) / (2 * 0.2)  # c = 0.2
    second = 2 * (0.1**2 + 0.02**2) / (2 * 0.02) + 0.01  # c = 0.02
    assert loss.total.item() == pytest.approx(first + second, rel=1e-5)
    assert loss.mean().item() == pytest.approx((first + second) / 5, rel=1e-5)


def test_logarithms_are_natural():
    depth = torch.full((1, 1, 1, 1), 10.0)
    error = log_error(torch.zeros_like(depth), depth, torch.ones_like(depth, dtype=torch.bool))
    assert error.item() == pytest.approx(-2.302585, abs=1e-6)


def plain_loss(name, z, depth, valid):
    """The mean per valid pixel, image by image in float64."""
    total = 0.0
    for one in range(len(z)):
        here = valid[one]
        if not here.any():
            continue
        p, g = z[one][here].astype(np.float64), depth[one][here].astype(np.float64)
        e = p - np.log(g)
        c = 0.2 * np.abs(e).max()
        total += {
            "silog": here.sum() * np.sqrt((e**2).mean() - 0.85 * e.mean() ** 2 + EPS),
            "si_log": here.sum() * np.sqrt(e.var() + EPS),
            "l1_log": np.abs(e).sum(),
            "mse_log": (e**2).sum(),
            "berhu_log": np.where(np.abs(e) <= c, np.abs(e), (e**2 + c**2) / (2 * c)).sum(),
            "mse": ((np.exp(p) - g) ** 2).sum(),
        }[name]
    return total / valid.sum()


@pytest.mark.parametrize("name", ALL)
def test_value_and_gradient_are_those_of_a_plain_version_in_float64(name):
    log_prediction, depth, valid = random_batch(shape=(3, 1, 3, 4))
    valid[2] = False
    depth = torch.where(valid, depth, math.nan)
    log_prediction = torch.where(valid, log_prediction, -math.inf).requires_grad_()
    loss = LOSSES[name](log_prediction, depth, valid).mean()
    loss.backward()
    z, g, m = log_prediction.detach().double().numpy(), depth.numpy(), valid.numpy()
    assert loss.item() == pytest.approx(plain_loss(name, z, g, m), rel=2e-6)
    for place in zip(*np.nonzero(m), strict=True):
        higher, lower = z.copy(), z.copy()
        higher[place] += 1e-6
        lower[place] -= 1e-6
        slope = (plain_loss(name, higher, g, m) - plain_loss(name, lower, g, m)) / 2e-6
        if name != "berhu_log":  # its threshold moves with the largest error, but has no gradient
            assert log_prediction.grad[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_si_log_ignores_the_scale_of_each_image():
    log_prediction, depth, valid = random_batch()
    factors = torch.tensor([7.0, 0.01, 300.0]).view(3, 1, 1, 1)
    here, there = (si_log(log_prediction, depth * one, valid).mean().item() for one in (1, factors))
    assert there == pytest.approx(here, rel=1e-5)
    assert silog(log_prediction, depth * factors, valid).mean() > 2 * here


def test_mse_is_of_metres_divided_by_a_typical_depth():
    depth = torch.tensor([4.0, 10.0]).view(1, 1, 1, 2)
    valid = torch.ones_like(depth, dtype=torch.bool)
    loss = mse(torch.log(torch.tensor([6.0, 9.0])).view(1, 1, 1, 2), depth, valid, typical_m=2.0)
    assert loss.mean().item() == pytest.approx((1.0 + 0.25) / 2, rel=1e-5)


@pytest.mark.parametrize("z", [-1e4, -200.0, 88.0, 89.0, 500.0, 1e4])
def test_mse_of_a_network_that_is_far_off_is_finite_and_leads_back(z):
    log_prediction = torch.full((1, 1, 2, 3), z, requires_grad=True)
    loss = mse(log_prediction, torch.full_like(log_prediction, 8.0), torch.ones(1, 1, 2, 3, dtype=torch.bool), 8.0)
    loss.mean().backward()
    assert loss.total.isfinite()
    assert log_prediction.grad.isfinite().all()
    assert (log_prediction.grad > 0).all() if z > 0 else (log_prediction.grad <= 0).all()


def test_mse_is_continued_smoothly_beyond_a_kilometre():
    z = torch.tensor([math.log(1000) - 1e-3, math.log(1000) + 1e-3]).view(2, 1, 1, 1).requires_grad_()
    loss = mse(z, torch.ones_like(z), torch.ones_like(z, dtype=torch.bool))
    loss.total.backward()
    near, far = z.grad.flatten().tolist()
    assert near == pytest.approx(far, rel=5e-3)
    assert near == pytest.approx(2 * (math.exp(z[0].item()) - 1) * math.exp(z[0].item()), rel=1e-3)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("garbage", [0.0, -5.0, 1e30, math.nan, math.inf, -math.inf])
def test_whatever_lies_under_invalid_changes_neither_value_nor_gradient(name, garbage):
    log_prediction, depth, valid = random_batch()
    results = []
    for dirty in (False, True):
        prediction = torch.where(valid | ~torch.tensor(dirty), log_prediction, garbage).requires_grad_()
        loss = LOSSES[name](prediction, torch.where(valid, depth, garbage if dirty else 1.0), valid)
        (gradient,) = torch.autograd.grad(loss.mean(), prediction)
        results.append((loss.total, loss.count, gradient))
    assert all(torch.equal(clean, dirty) for clean, dirty in zip(*results, strict=True))
    assert results[1][0].isfinite()
    assert (results[1][2][~valid] == 0).all()
    assert (results[1][2][valid] != 0).any()


@pytest.mark.parametrize("name", ALL)
def test_a_lost_mask_would_change_the_loss(name):
    log_prediction, depth, valid = random_batch()
    depth = torch.where(valid, depth, 1e-3)  # sky, as the tutorial trains on it
    masked, unmasked = (LOSSES[name](log_prediction, depth, mask) for mask in (valid, torch.ones_like(valid)))
    assert masked.count == valid.sum() < unmasked.count == valid.numel()
    assert unmasked.mean() > 2 * masked.mean()


@pytest.mark.parametrize("name", ALL)
def test_a_batch_without_valid_pixels_costs_exactly_nothing_and_has_a_zero_gradient(name):
    log_prediction = torch.randn(2, 1, 4, 5, requires_grad=True)
    depth = torch.full((2, 1, 4, 5), math.nan)
    loss = LOSSES[name](log_prediction, depth, torch.zeros(2, 1, 4, 5, dtype=torch.bool))
    assert (loss.total.item(), loss.count.item(), loss.mean().item()) == (0.0, 0, 0.0)
    loss.mean().backward()
    assert torch.equal(log_prediction.grad, torch.zeros_like(log_prediction))


@pytest.mark.parametrize("name", ALL)
def test_an_image_without_valid_pixels_adds_nothing_to_a_batch(name):
    log_prediction, depth, valid = random_batch()
    valid[1] = False
    whole = LOSSES[name](log_prediction, depth, valid)
    rest = LOSSES[name](log_prediction[[0, 2]], depth[[0, 2]], valid[[0, 2]])
    assert whole.total.item() == pytest.approx(rest.total.item(), rel=1e-6)
    assert whole.count == rest.count


@pytest.mark.parametrize("name", ALL)
def test_a_perfect_prediction_has_a_finite_gradient_and_next_to_no_cost(name):
    _, depth, valid = random_batch()
    log_prediction = depth.log().requires_grad_()
    loss = LOSSES[name](log_prediction, depth, valid).mean()
    loss.backward()
    assert 0 <= loss.item() <= math.sqrt(EPS) * 1.0001
    assert log_prediction.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_parts_add_up_to_the_whole_in_value_and_gradient(name):
    log_prediction, depth, valid = random_batch(shape=(6, 1, 5, 7))
    valid[0, :, 1:] = False  # parts of unequal weight
    log_prediction.requires_grad_()
    whole = LOSSES[name](log_prediction, depth, valid)
    parts = [LOSSES[name](log_prediction[cut], depth[cut], valid[cut]) for cut in (slice(1), slice(1, 4), slice(4, 6))]
    joined = parts[0] + parts[1] + parts[2]
    assert joined.total.item() == pytest.approx(whole.total.item(), rel=1e-6)
    assert joined.count == whole.count
    gradients = [torch.autograd.grad(loss.mean(), log_prediction, retain_graph=True)[0] for loss in (whole, joined)]
    torch.testing.assert_close(*gradients)
    mean_of_means = sum(part.mean().item() for part in parts) / 3
    assert mean_of_means != pytest.approx(whole.mean().item(), rel=1e-3)  # what adding means would give


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_low_precision_stays_outside(name, low):
    log_prediction, depth, valid = random_batch(shape=(1, 1, 400, 400))
    log_prediction = (log_prediction + 10).to(low)  # the sum of squares is 1e7, more than float16 holds
    expected = LOSSES[name](log_prediction.float(), depth, valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = LOSSES[name](log_prediction, depth, valid)
    assert loss.total.dtype == torch.float32
    assert torch.equal(loss.total, expected.total)


@pytest.mark.parametrize("name", ALL)
def test_following_the_gradient_lowers_the_loss(name):
    log_prediction, depth, valid = random_batch()
    log_prediction.requires_grad_()
    before = LOSSES[name](log_prediction, depth, valid).mean()
    (gradient,) = torch.autograd.grad(before, log_prediction)
    step = 1e-3 if name == "mse" else 1.0  # of square metres
    assert LOSSES[name](log_prediction - step * gradient, depth, valid).mean() < before


@pytest.mark.parametrize("name", ALL)
def test_shapes_that_would_broadcast_are_refused(name):
    log_prediction, depth, valid = random_batch()
    with pytest.raises(ValueError, match=r"\(3, 1, 6, 7\), \(3, 6, 7\)"):
        LOSSES[name](log_prediction, depth[:, 0], valid)
    with pytest.raises(ValueError, match=r"bool.*float32"):
        LOSSES[name](log_prediction, depth, valid.float())


def test_the_mean_of_nothing_is_zero():
    assert LossSum(torch.tensor(0.0), torch.tensor(0)).mean().item() == 0.0


def test_the_names_are_those_of_the_command_line():
    assert tuple(LOSSES) == get_args(LossName)
