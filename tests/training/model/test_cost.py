"""The computed cost of a step is that of a real one."""

import json
from itertools import accumulate

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from training.model.cost import StepCost, Storages, blank_batch, compute_cost
from training.model.depth_unet import DepthUnet
from training.model.hyperparameters import Hyperparameters
from training.network.encoder import load_encoder
from training.network.unet import build_unet

SIZE = (96, 128)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> DepthUnet:
    return DepthUnet(build_unet(load_encoder("none", "resnet18")), Hyperparameters(encoder_name="resnet18"))


def compute_loss(model, precision, size=SIZE):
    batch = blank_batch(1, *size, CPU)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true"):
        return model.loss_sum(model(batch["image"]), batch).mean()


def kept_by_autograd(model, precision):
    kept, weights = Storages(), Storages()
    for tensor in model.state_dict().values():
        weights.add(tensor)
    with kept.noting():
        loss = compute_loss(model, precision)
    assert loss.requires_grad
    return kept.count(but=weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("32-true", 0), pytest.param("bf16-mixed", 1e-3, marks=pytest.mark.slow)]
)
def test_what_is_kept_is_what_a_real_step_keeps(model, precision, tolerance):
    cost = compute_cost("resnet18", *SIZE, precision, recompute=False)
    # In 16 bits the CPU's BatchNorm keeps its statistics (a few kB) in another format than that of meta.
    assert cost.kept_bytes + cost.copy_bytes == pytest.approx(kept_by_autograd(model, precision), rel=tolerance, abs=0)
    convolutions = [one for one in model.modules() if isinstance(one, torch.nn.Conv2d)][:-1]  # the last is in float32
    weights = sum(parameter.numel() for one in convolutions for parameter in one.parameters())
    assert cost.copy_bytes == (0 if precision == "32-true" else 2 * weights)


def test_both_formats_of_16_bits_cost_the_same():
    half, brain = (
        compute_cost("resnet18", *SIZE, precision, recompute=False) for precision in ("16-mixed", "bf16-mixed")
    )
    assert half == brain


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.slow
def test_operations_are_those_of_a_real_step(model, recompute):
    cost = compute_cost("resnet18", *SIZE, "32-true", recompute)
    expected = cost.forward_flop, cost.step_flop  # counted now, outside the counter below
    model.unet.recompute = recompute
    with FlopCounterMode(display=False) as counter:
        loss = compute_loss(model, "32-true")
        assert counter.get_total_flops() == expected[0]
        loss.backward()
    assert counter.get_total_flops() == expected[1]
    model.unet.recompute = False


def peak_bytes(model, precision, recompute, folder):
    """Return the most bytes that a real step had allocated at once, by what the allocator reports."""
    model.zero_grad(set_to_none=True)
    model.unet.recompute = recompute
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        compute_loss(model, precision, (192, 256)).backward()
    model.unet.recompute = False
    profiled.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    changes = sorted((one["ts"], one["args"]["Bytes"]) for one in events if one["name"] == "[memory]")
    return max(accumulate(change for _, change in changes))


@pytest.mark.slow
def test_the_peak_of_a_real_step_is_the_estimate_and_recomputing_saves_what_it_says(model, tmp_path):
    peaks = [peak_bytes(model, "32-true", recompute, tmp_path) for recompute in (False, True)]
    costs = [compute_cost("resnet18", 192, 256, "32-true", recompute) for recompute in (False, True)]
    assert peaks[0] - peaks[1] == pytest.approx(costs[0].kept_bytes - costs[1].kept_bytes, rel=0.03)
    for peak, cost in zip(peaks, costs, strict=True):
        assert cost.kept_bytes < peak == pytest.approx(cost.sample_bytes, rel=0.1)


def test_the_tutorials_step_costs_what_is_known_of_it():
    cost = compute_cost("resnet50", 768, 768, "32-true", recompute=False)
    assert cost.parameters == 339_069_708
    assert cost.forward_flop / 1e9 == pytest.approx(5639, abs=1)
    assert cost.step_flop / 1e12 == pytest.approx(16.9, abs=0.05)
    assert cost.kept_bytes / 768**2 == pytest.approx(9483, abs=5)


def per_pixel(name, precision, recompute) -> float:
    cost: StepCost = compute_cost(name, 768, 768, precision, recompute)
    return round(cost.kept_bytes / 768**2)


def test_less_is_kept_in_16_bits_and_with_recomputation():
    assert [per_pixel("resnet50", precision, False) for precision in ("32-true", "bf16-mixed")] == [9481, 5341]
    assert [per_pixel("resnet50", precision, True) for precision in ("32-true", "bf16-mixed")] == [5520, 3348]
