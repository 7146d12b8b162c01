import math

import pytest
import torch

from training.losses.gradient_term import gradient_l1
from training.losses.pixel_losses import LOSSES, mse
from training.metrics.image_metrics import image_metrics
from training.metrics.protocols import METRICS, PROTOCOLS
from training.model.criterion import make_loss, make_protocol
from training.model.hyperparameters import Hyperparameters


def make_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand((2, 1, 8, 9), generator=generator) * 20 + 1
    z = depth.log() + 0.3 * torch.randn(depth.shape, generator=generator)
    return z, depth, torch.rand(depth.shape, generator=generator) < 0.7


@pytest.mark.parametrize("name", LOSSES)
def test_without_further_options_it_is_the_loss_of_that_name(name: str) -> None:
    found = make_loss(Hyperparameters(loss=name, log_depth_mean=0.0))(*make_batch())
    assert torch.equal(found.total, LOSSES[name](*make_batch()).total)


def test_mse_is_of_the_sets_typical_depth() -> None:
    found = make_loss(Hyperparameters(loss="mse", log_depth_mean=math.log(8.0)))(*make_batch())
    assert found.mean().item() == pytest.approx(mse(*make_batch(), typical_m=8.0).mean().item(), rel=1e-6)
    assert 0 < found.mean().item() < 1  # of about 10 m


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_term_is_added_with_its_weight(name: str) -> None:
    plain, both = (make_loss(Hyperparameters(loss=name, gradient_weight=weight)) for weight in (0.0, 2.0))
    expected = plain(*make_batch()).mean() + 2 * gradient_l1(*make_batch()).mean()
    assert both(*make_batch()).mean().item() == pytest.approx(expected.item(), rel=1e-6)


def test_metric_depth_is_judged_by_the_headline() -> None:
    assert make_protocol("metric") == PROTOCOLS["headline"]


def test_depth_up_to_scale_is_judged_whatever_its_unit() -> None:
    z, depth, valid = make_batch()
    protocol = make_protocol("up_to_scale")
    unit_free = [METRICS.index(name) for name in ("abs_rel", "rmse_log", "log10", "silog", "delta1")]
    found = [
        image_metrics(z.exp() * here, depth * there, valid, protocol)[0][:, unit_free]
        for here, there in ((1, 1), (5, 1), (1, 7), (1, 1e-3), (1e-2, 1e3))
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=0)
    assert (found[0] > 0).all()
