import pytest

from training.report.charts.strip import Track, strip_plot


def test_bars_and_dots_are_on_one_scale_that_begins_at_zero() -> None:
    dots = (("r-0", 0.1, "0.100"), ("r-1", 0.3, "0.300"))
    plot = strip_plot(
        [Track(name="a", mean=0.2, text="0.200 ± 0.1", dots=dots), Track(name="row", mean=0.4, text="0.4")]
    )
    assert (plot["ticks"][0]["at"], plot["ticks"][-1]["at"]) == (0, 100)
    top = float(plot["ticks"][-1]["text"])
    first, second = plot["rows"]
    assert first["at"] == pytest.approx(100 * 0.2 / top)
    assert [dot["at"] for dot in first["dots"]] == pytest.approx([10 / top, 30 / top])
    assert [dot["name"] for dot in first["dots"]] == ["r-0", "r-1"]
    assert (second["at"], second["dots"]) == (pytest.approx(40 / top), [])
