import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import DataError
from training.metrics.image_metrics import depth_edges, image_metrics
from training.metrics.protocols import METRICS, PROTOCOLS, Protocol

HEADLINE = PROTOCOLS["headline"]


def image_of(pixels, fill=0.0):
    """float32 (1, 1, 2, 8) with the given values first, and where they are."""
    flat = torch.full((16,), fill)
    flat[: len(pixels)] = torch.tensor(pixels)
    return flat.reshape(1, 1, 2, 8), (torch.arange(16) < len(pixels)).reshape(1, 1, 2, 8)


def metrics_of(predicted, truth, protocol=HEADLINE):
    """Metrics of one image of up to 16 pixels, by name."""
    prediction, _ = image_of(predicted, 1.0)
    depth, valid = image_of(truth)
    values, counted = image_metrics(prediction, depth, valid, protocol)
    assert counted.tolist() == [True]
    return dict(zip(METRICS, values[0].tolist(), strict=True))


def by_hand(predicted, truth):
    """Every metric by its formula, in plain Python."""
    pairs, n = list(zip(predicted, truth, strict=True)), len(truth)
    e = [math.log(p) - math.log(g) for p, g in pairs]
    ratios = [max(p / g, g / p) for p, g in pairs]
    return {
        "abs_rel": sum(abs(p - g) / g for p, g in pairs) / n,
        "sq_rel": sum((p - g) ** 2 / g for p, g in pairs) / n,
        "mae": sum(abs(p - g) for p, g in pairs) / n,
        "rmse": math.sqrt(sum((p - g) ** 2 for p, g in pairs) / n),
        "rmse_log": math.sqrt(sum(x * x for x in e) / n),
        "log10": sum(abs(math.log10(p) - math.log10(g)) for p, g in pairs) / n,
        "silog": 100 * math.sqrt(sum(x * x for x in e) / n - (sum(e) / n) ** 2),
        "delta1": sum(r < 1.25 for r in ratios) / n,
        "delta2": sum(r < 1.25**2 for r in ratios) / n,
        "delta3": sum(r < 1.25**3 for r in ratios) / n,
    }


TRUTH = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 0.75]  # exact in float32
PREDICTED = [1.125, 1.5, 4.0, 9.5, 12.0, 60.0, 50.0, 128.5, 200.0, 310.0, 0.875]


def random_batch(seed=0, shape=(3, 1, 7, 9)):
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(shape, generator=generator) * 300 + 0.6
    prediction = depth * torch.exp(0.4 * torch.randn(shape, generator=generator))
    return prediction, depth, torch.rand(shape, generator=generator) < 0.6


def test_every_metric_equals_its_formula_worked_out_by_hand():
    found, expected = metrics_of(PREDICTED, TRUTH), by_hand(PREDICTED, TRUTH)
    assert tuple(found) == tuple(expected) == METRICS
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_prediction_twice_too_far_has_the_known_values():
    assert metrics_of([8.0] * 10, [4.0] * 10) == pytest.approx(
        {
            "abs_rel": 1.0,
            "sq_rel": 4.0,
            "mae": 4.0,
            "rmse": 4.0,
            "rmse_log": 0.6931471805599453,  # ln 2: natural
            "log10": 0.3010299956639812,  # log10 2
            "silog": 0.0,  # a pure scale
            "delta1": 0.0,
            "delta2": 0.0,
            "delta3": 0.0,
        },
        abs=1e-12,
    )


def test_silog_of_half_too_far_and_half_too_near_is_a_hundred_times_the_log():
    assert metrics_of([8.0, 2.0] * 5, [4.0] * 10)["silog"] == pytest.approx(100 * math.log(2), rel=1e-12)


def test_a_perfect_prediction_is_perfect():
    found = metrics_of(TRUTH, TRUTH)
    assert [found[name] for name in METRICS] == [0.0] * 7 + [1.0] * 3


@pytest.mark.parametrize(("ratio", "deltas"), [(1.25, [0, 1, 1]), (1.25**2, [0, 0, 1]), (1.25**3, [0, 0, 0])])
def test_delta_is_strict_both_ways(ratio, deltas):
    exact = [[64.0] * 10, [64.0 * ratio] * 10]  # all exact in binary
    for predicted, truth in (exact, exact[::-1]):
        found = metrics_of(predicted, truth)
        assert [found[f"delta{k}"] for k in (1, 2, 3)] == deltas
    just_below = metrics_of([64.0 * ratio * (1 - 1e-6)] * 10, [64.0] * 10)
    assert just_below[f"delta{3 - sum(deltas)}"] == 1.0


def test_a_share_is_exact_in_float64():
    assert metrics_of([4.0] * 4 + [100.0] * 8, [4.0] * 12)["delta1"] == 4 / 12


def test_truth_out_of_range_is_left_out_never_clipped():
    inside, outside = [2.0, 4.0, 80.0] * 4, [80.5, 0.5]
    predicted = [3.0, 3.0, 70.0] * 4
    found = metrics_of([*predicted, 5.0, 5.0], inside + outside, PROTOCOLS["cap80"])
    assert found == pytest.approx(by_hand(predicted, inside), rel=1e-12)
    with_far = metrics_of([*predicted, 5.0, 5.0], inside + outside)
    assert with_far["mae"] == pytest.approx(by_hand([*predicted, 5.0], [*inside, 80.5])["mae"], rel=1e-12)


def test_the_prediction_is_clamped_to_the_range():
    predicted = [-3.0, 0.0, 0.1, 100.0, 1e9] + [4.0] * 7
    clamped = [0.6, 0.6, 0.6, 80.0, 80.0] + [4.0] * 7
    assert metrics_of(predicted, [4.0] * 12, PROTOCOLS["cap80"]) == pytest.approx(by_hand(clamped, [4.0] * 12))


def test_the_range_includes_its_ends():
    truth = [0.6] * 5 + [350.0] * 5  # 0.6 in float32 is above 0.6
    assert metrics_of(truth, truth)["delta1"] == 1.0


def test_images_are_measured_one_by_one():
    prediction, depth, valid = random_batch()
    values, _ = image_metrics(prediction, depth, valid, HEADLINE)
    for i in range(3):
        chosen = valid[i]
        expected = by_hand(prediction[i][chosen].clamp(0.6, 350).double().tolist(), depth[i][chosen].double().tolist())
        assert dict(zip(METRICS, values[i].tolist(), strict=True)) == pytest.approx(expected, rel=1e-6)
    assert values.dtype == torch.float64


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    protocol=st.sampled_from(sorted(PROTOCOLS)),
    garbage=st.lists(st.floats(width=32), min_size=1, max_size=8),
)
def test_whatever_lies_under_invalid_changes_nothing(seed, protocol, garbage):
    prediction, depth, valid = random_batch(seed)
    trash = torch.tensor(garbage).repeat(valid.numel())[: valid.numel()].reshape(valid.shape)
    finite = trash.nan_to_num(7.0, 1e30, -1e30)  # a prediction must be finite everywhere
    clean = image_metrics(prediction, depth, valid, PROTOCOLS[protocol])
    dirty = image_metrics(
        torch.where(valid, prediction, finite), torch.where(valid, depth, trash), valid, PROTOCOLS[protocol]
    )
    assert torch.equal(clean[0], dirty[0])
    assert torch.equal(clean[1], dirty[1])


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_a_lost_mask_would_change_every_metric(protocol):
    prediction, depth, valid = random_batch()
    depth = depth.clamp(10, 11)  # no edge, and no depth out of range
    prediction = torch.where(valid, depth, 30 + torch.rand(depth.shape))
    masked, _ = image_metrics(prediction, depth, valid, PROTOCOLS[protocol])
    unmasked, _ = image_metrics(prediction, depth, torch.ones_like(valid), PROTOCOLS[protocol])
    assert (masked != unmasked).all()


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_prediction_that_is_not_finite_fails_even_under_invalid(wrong):
    prediction, depth, valid = random_batch()
    valid[1, 0, 2, 3] = False
    prediction[1, 0, 2, 3] = wrong
    with pytest.raises(DataError, match=r"images \[1\] of the batch, 1 values: the prediction contains NaN or inf"):
        image_metrics(prediction, depth, valid, HEADLINE)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0, -1.0])
def test_a_valid_pixel_without_depth_fails(wrong):
    prediction, depth, valid = random_batch()
    depth[2, 0, 0, 0], valid[2, 0, 0, 0] = wrong, True
    with pytest.raises(DataError, match=r"images \[2\].*valid pixels"):
        image_metrics(prediction, depth, valid, HEADLINE)


def test_shapes_that_would_broadcast_are_refused():
    prediction, depth, valid = random_batch()
    with pytest.raises(ValueError, match=r"\(3, 7, 9\) and \(3, 1, 7, 9\)"):
        image_metrics(prediction, depth[:, 0], valid, HEADLINE)
    with pytest.raises(ValueError, match="float32"):
        image_metrics(prediction, depth, valid.float(), HEADLINE)
    with pytest.raises(ValueError, match=r"\(3, 7, 9\), \(3, 1, 7, 9\)"):
        image_metrics(prediction[:, 0], depth, valid, HEADLINE)


@pytest.mark.parametrize("pixels", [10, 11])
def test_median_scaling_forgives_any_scale_before_the_clamp(pixels):
    truth, predicted = TRUTH[:pixels], PREDICTED[:pixels]
    ratio = statistics.median(truth) / statistics.median(predicted)
    expected = by_hand([min(max(p * ratio, 0.6), 350.0) for p in predicted], truth)
    for scale in (1.0, 1 / 1024, 1024.0):  # clamped first, the last two would be all one value
        found = metrics_of([p * scale for p in predicted], truth, PROTOCOLS["median_scaled"])
        assert found == pytest.approx(expected, rel=1e-6)
    assert metrics_of(predicted, truth) != pytest.approx(expected, rel=1e-3)


def test_median_scaling_is_per_image_and_over_compared_pixels_only():
    prediction, depth, valid = random_batch()
    scales = torch.tensor([0.5, 1.0, 8.0]).reshape(3, 1, 1, 1)
    depth[:, :, 0, :3], valid[:, :, 0, :3] = 400.0, True  # beyond the range: not part of the medians
    prediction[:, :, 0, :3] = 1e6
    plain, _ = image_metrics(prediction, depth, valid, PROTOCOLS["median_scaled"])
    scaled, _ = image_metrics(prediction * scales, depth, valid, PROTOCOLS["median_scaled"])
    torch.testing.assert_close(plain, scaled)
    chosen = valid[0] & (depth[0] <= 350)
    p, g = prediction[0][chosen].double().tolist(), depth[0][chosen].double().tolist()
    ratio = statistics.median(g) / statistics.median(p)
    expected = by_hand([min(max(x * ratio, 0.6), 350.0) for x in p], g)
    assert dict(zip(METRICS, plain[0].tolist(), strict=True)) == pytest.approx(expected, rel=1e-9)


def test_a_median_that_can_not_be_aligned_fails():
    prediction, depth, valid = random_batch()
    prediction[1] = -1.0
    with pytest.raises(DataError, match=r"images \[1\].*median"):
        image_metrics(prediction, depth, valid, PROTOCOLS["median_scaled"])


def test_edges_are_pixels_whose_window_spans_more_than_fifteen_percent():
    depth = torch.full((1, 1, 3, 12), 10.0)
    depth[..., 6:] = 11.4  # within 15 %
    everything = torch.ones_like(depth, dtype=torch.bool)
    assert not depth_edges(depth, everything).any()
    depth[..., 6:] = 11.6
    edges = depth_edges(depth, everything)
    assert edges[0, 0].tolist() == [[4 <= j <= 7 for j in range(12)]] * 3  # 2 pixels on either side


@pytest.mark.parametrize("garbage", [math.nan, math.inf, 300.0, 0.1, -1.0])
def test_an_invalid_neighbour_makes_no_edge(garbage):
    depth = torch.full((1, 1, 3, 12), 10.0)
    valid = torch.arange(12).expand(depth.shape) < 6
    assert not depth_edges(torch.where(valid, depth, garbage), valid)[valid].any()


def test_edge_cleaning_leaves_out_edges_alone():
    depth = torch.full((1, 1, 8, 16), 10.0)
    depth[..., 8:] = 20.0
    prediction = depth.clone()
    prediction[..., 6:10] = 15.0  # smeared over the edge, as networks do
    valid = torch.ones_like(depth, dtype=torch.bool)
    headline, cleaned = (
        image_metrics(prediction, depth, valid, PROTOCOLS[n])[0][0] for n in ("headline", "edge_cleaned")
    )
    assert headline[METRICS.index("delta1")] == 12 / 16
    assert cleaned[METRICS.index("delta1")] == 1.0
    assert cleaned[METRICS.index("mae")] == 0.0


def test_images_with_fewer_than_ten_valid_pixels_are_not_counted():
    prediction, depth, valid = (
        torch.full((3, 1, 4, 5), 2.0),
        torch.full((3, 1, 4, 5), 4.0),
        torch.zeros(3, 1, 4, 5).bool(),
    )
    valid.flatten(1)[1, :9] = True
    valid.flatten(1)[2, :10] = True
    for protocol in PROTOCOLS.values():
        values, counted = image_metrics(prediction, depth, valid, protocol)
        assert counted.tolist() == [False, False, True]
        assert (values[:2] == 0).all()
        assert values[2].isfinite().all()


def test_the_protocols_are_those_documented():
    assert list(PROTOCOLS) == ["headline", "cap80", "edge_cleaned", "median_scaled"]
    assert all(PROTOCOLS[name].name == name for name in PROTOCOLS)
    assert Protocol(name="headline", min_depth=0.6, max_depth=350.0, drop_edges=False, median_scale=False) == HEADLINE
    assert PROTOCOLS["cap80"].max_depth == 80.0
