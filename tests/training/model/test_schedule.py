import pytest
import torch
from torch import nn

from sharding.errors import UsageError
from training.model.schedule import make_schedule, rate_factor


def test_the_rate_rises_linearly_then_falls_by_a_half_cosine_to_zero():
    factors = [rate_factor(step, warmup_steps=4, total_steps=12) for step in range(13)]
    assert factors[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert factors[4] == 1
    assert factors[8] == pytest.approx(0.5)
    assert factors[11] == pytest.approx(0.0380602)
    assert factors[12] == 0
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_without_an_end_the_rate_stays_at_its_peak():
    assert [rate_factor(step, 2, 0) for step in (0, 1, 2, 10**6)] == pytest.approx([1 / 3, 2 / 3, 1, 1])


@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_every_step_of_a_run_learns(warmup):
    assert all(0 < rate_factor(step, warmup, 7) <= 1 for step in range(7))


def rates(name, warmup, total):
    """Learning rates and first betas of two groups at every step, and what is left after the last one."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1e-3, 1e-4)]
    optimizer = torch.optim.AdamW(groups)
    schedule = make_schedule(optimizer, name, warmup, total)
    found = []
    for _ in range(total + 1):  # Lightning asks for the rate after the last step, too
        found.append([(group["lr"], group["betas"][0]) for group in optimizer.param_groups])
        optimizer.step()
        if len(found) <= total:
            schedule.step()
    return found


def test_one_cycle_rises_to_each_groups_peak_and_falls_to_almost_nothing():
    found = rates("one-cycle", 5, 20)
    assert [rate for rate, _ in found[0]] == pytest.approx([1e-3 / 25, 1e-4 / 25])
    assert [rate for rate, _ in found[4]] == pytest.approx([1e-3, 1e-4])
    assert [rate for rate, _ in found[19]] == pytest.approx([1e-3 / 1e5, 1e-4 / 1e5])
    first = [step[0][0] for step in found[:20]]
    assert first[:5] == sorted(first[:5])
    assert first[4:] == sorted(first[4:], reverse=True)
    assert [found[step][0][1] for step in (0, 4, 19)] == pytest.approx([0.95, 0.85, 0.95])


@pytest.mark.parametrize("total", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0, 1, 2, 7, 100])
def test_one_cycle_of_any_length_learns_in_every_step(warmup, total):
    assert all(0 < rate <= 1e-3 * (1 + 1e-9) for step in rates("one-cycle", warmup, total)[:total] for rate, _ in step)


def test_cosine_is_rate_factor():
    found = [step[0][0] for step in rates("cosine", 3, 9)]
    assert found == pytest.approx([1e-3 * rate_factor(step, 3, 9) for step in range(10)])


def test_one_cycle_needs_to_know_its_end():
    with pytest.raises(UsageError, match="one-cycle: the number of steps must be known"):
        rates("one-cycle", 0, 0)


def test_a_single_step_of_one_cycle_is_taken_at_the_peak():
    assert rates("one-cycle", 0, 1)[0][0][0] == pytest.approx(1e-3)
