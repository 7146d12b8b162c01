import math

import numpy as np
import pytest
import torch

from training.losses.gradient_term import gradient_l1, with_gradient
from training.losses.pixel_losses import l1_log, silog


def plain_gradient(z: np.ndarray, depth: np.ndarray, valid: np.ndarray) -> float:
    """The term per valid pixel, pair by pair in float64."""
    total = 0.0
    for one in range(len(z)):
        differences = []
        for row in range(z.shape[2]):
            for column in range(z.shape[3]):
                for other in ((row + 1, column), (row, column + 1)):
                    if other[0] < z.shape[2] and other[1] < z.shape[3]:
                        here, there = (one, 0, row, column), (one, 0, *other)
                        if valid[here] and valid[there]:
                            errors = [float(z[at]) - math.log(float(depth[at])) for at in (here, there)]
                            differences.append(abs(errors[1] - errors[0]))
        total += valid[one].sum() * np.mean(differences) if differences else 0.0
    return total / max(valid.sum(), 1)


def random_batch(shape: tuple[int, ...] = (4, 1, 5, 6)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(shape, generator=generator) * 80 + 0.6
    z = depth.log() + 0.3 * torch.randn(shape, generator=generator)
    return z, depth, torch.rand(shape, generator=generator) < 0.6


@pytest.mark.parametrize("garbage", [0.0, math.nan, math.inf, -math.inf])
def test_value_and_gradient_are_those_of_a_plain_version_whatever_lies_under_invalid(garbage: float) -> None:
    z, depth, valid = random_batch((4, 1, 3, 4))
    valid[1] = False
    valid[2] = False
    valid[2, 0, 1, 1] = True  # an image of one pixel has no pair
    depth, z = torch.where(valid, depth, garbage), torch.where(valid, z, garbage).requires_grad_()
    loss = gradient_l1(z, depth, valid).mean()
    loss.backward()
    plain, g, m = z.detach().double().numpy(), depth.numpy(), valid.numpy()
    assert loss.item() == pytest.approx(plain_gradient(plain, g, m), rel=2e-6)
    assert (z.grad[~valid] == 0).all()
    for place in zip(*np.nonzero(m), strict=True):
        higher, lower = plain.copy(), plain.copy()
        higher[place] += 1e-6
        lower[place] -= 1e-6
        slope = (plain_gradient(higher, g, m) - plain_gradient(lower, g, m)) / 2e-6
        assert z.grad[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_a_constant_error_costs_nothing_and_a_step_costs_its_height_by_its_pairs() -> None:
    depth = torch.full((1, 1, 4, 6), 5.0)
    valid = torch.ones_like(depth, dtype=torch.bool)
    assert gradient_l1(depth.log() + 0.7, depth, valid).total.item() == pytest.approx(0, abs=1e-5)
    step = depth.log()
    step[..., 3:] += 0.5
    assert gradient_l1(step, depth, valid).mean().item() == pytest.approx(4 * 0.5 / (3 * 6 + 4 * 5), rel=1e-5)


def test_the_scale_of_an_image_does_not_matter() -> None:
    z, depth, valid = random_batch()
    here, there = (gradient_l1(z, depth * factor, valid).mean().item() for factor in (1, 7))
    assert there == pytest.approx(here, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (2, 1, 1, 5), (2, 1, 5, 1)])
def test_an_image_may_be_one_row_or_one_column(shape: tuple[int, ...]) -> None:
    z, depth, valid = random_batch(shape)
    valid[:] = True
    found = gradient_l1(z, depth, valid).mean().item()
    assert found == pytest.approx(plain_gradient(z.numpy(), depth.numpy(), valid.numpy()), rel=1e-5)


def test_images_add_up_and_are_weighted_by_their_valid_pixels() -> None:
    z, depth, valid = random_batch()
    valid[0, :, 1:] = False
    whole = gradient_l1(z, depth, valid)
    first, rest = gradient_l1(z[:1], depth[:1], valid[:1]), gradient_l1(z[1:], depth[1:], valid[1:])
    assert (first + rest).total.item() == pytest.approx(whole.total.item(), rel=1e-6)
    assert (first + rest).count == whole.count == valid.sum()


def test_it_is_added_to_a_loss_with_its_weight() -> None:
    z, depth, valid = random_batch()
    for loss in (silog, l1_log):
        found = with_gradient(loss, 0.25, z, depth, valid)
        expected = loss(z, depth, valid).mean() + 0.25 * gradient_l1(z, depth, valid).mean()
        assert found.mean().item() == pytest.approx(expected.item(), rel=1e-6)


def test_low_precision_stays_outside() -> None:
    z, depth, valid = random_batch((1, 1, 300, 300))
    expected = gradient_l1(z.bfloat16().float(), depth, valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradient_l1(z.bfloat16(), depth, valid)
    assert found.total.dtype == torch.float32
    assert torch.equal(found.total, expected.total)
