import pytest

from training.model.schedule import rate_factor


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
