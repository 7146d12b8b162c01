import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from training.metrics.protocols import METRICS, PROTOCOLS
from training.report.comparison import Comparison
from training.report.page import render_report
from training.report.tables import spread_text

CONSTANT = {"1_a": 0.5, "1_b": 0.6, "2_a": 0.4, "2_b": 0.9}
ROW = {"1_a": 0.1, "1_b": 0.2, "2_a": 0.2, "2_b": 0.25}
SCENES = ("1", "2")


class Page(HTMLParser):
    """Collects metric cells, addresses, tag names and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cells: list[dict[str, str]] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._open: dict[str, str] | None = None
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.addresses += [found[name] for name in ("src", "href", "srcset", "data", "poster") if name in found]
        if tag == "td":
            self._open = found | {"text": ""} if "data-metric" in found else None
            self.cells += [self._open] if self._open is not None else []

    def handle_endtag(self, tag: str) -> None:
        self._open = None if tag == "td" else self._open

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] != "style":
            self.text += data
        if self._open is not None:
            self._open["text"] += data.strip()


@pytest.fixture(scope="module")
def comparison(fabricate_comparison, draw_images) -> Comparison:
    """Two arms of three runs, 0.27 and 0.6, and two baselines, 0.6 and 0.19."""
    arms = {
        "pre<trained>": [draw_images(0.27, seed, SCENES) for seed in (0, 1, 2)],
        "scratch": [CONSTANT, *(draw_images(0.6, seed, SCENES) for seed in (3, 4))],
    }
    return fabricate_comparison(arms, {"constant": CONSTANT, "row": ROW})


@pytest.fixture(scope="module")
def html(comparison: Comparison) -> str:
    return render_report(comparison)


def test_every_metric_of_every_contender_is_in_the_report_exactly(comparison: Comparison, html: str) -> None:
    cells = Page(html).cells
    found = {(c["data-contender"], c["data-protocol"], c["data-metric"]): float(c["data-value"])
             for c in cells if "data-scene" not in c}  # fmt: skip
    expected = {
        (one.name, protocol, metric): value
        for one in comparison.contenders()
        for protocol in PROTOCOLS
        for metric, value in one.mean(protocol).items()
    }
    assert found == expected
    assert len(expected) == 4 * len(PROTOCOLS) * len(METRICS)


def test_every_scene_of_every_contender_is_in_the_report_exactly(comparison: Comparison, html: str) -> None:
    cells = [cell for cell in Page(html).cells if cell.get("data-metric") == "log10"]
    found = {(c["data-contender"], c["data-scene"]): float(c["data-value"]) for c in cells if "data-scene" in c}
    expected = {
        (one.name, scene): row["log10"]
        for one in comparison.contenders()
        for scene, row in one.scenes("headline").items()
    }
    assert found == expected


def test_printed_values_are_the_exact_ones_rounded_with_their_spread(comparison: Comparison, html: str) -> None:
    cells = Page(html).cells
    spreads = {arm.name: arm.spread("headline") for arm in comparison.arms}
    seen = 0
    for cell in cells:
        text, _, spread = cell["text"].partition("±")
        digits = len(text.split(".")[1])
        assert text == f"{float(cell['data-value']):.{digits}f}"
        if cell["data-protocol"] == "headline" and "data-scene" not in cell and cell["data-contender"] in spreads:
            assert spread.strip() == spread_text(spreads[cell["data-contender"]][cell["data-metric"]], digits)
            seen += 1
    assert seen == 2 * (len(METRICS) + 5)  # the table of all metrics, and the first one


def test_every_run_is_in_the_report(comparison: Comparison, html: str) -> None:
    rows = re.findall(r'data-run="([^"]+)" data-run-metric="log10" data-value="([^"]+)"', html)
    expected = {
        run.label.replace("<", "&lt;").replace(">", "&gt;"): run.evaluation.mean("headline")["log10"]
        for arm in comparison.arms
        for run in arm.runs
    }
    assert {name: float(value) for name, value in rows} == expected
    assert len(rows) == 6


def test_the_page_refers_to_nothing_outside_itself(html: str) -> None:
    page = Page(html)
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    assert not re.search(r"https?://|@import|url\(", html)


def test_names_cannot_break_the_page(comparison: Comparison) -> None:
    html = render_report(replace(comparison, warnings=("<b>bold</b>",), factors=("loss (<i> | x)",)))
    assert "pre<trained>" not in html
    assert "<b>bold" not in html
    assert "<i> |" not in html
    assert "pre<trained>" in Page(html).text


def test_contrasts_come_first_and_then_warnings(comparison: Comparison, html: str) -> None:
    warned = replace(comparison, warnings=("The arms differ in epochs: 2 | 3.",))
    text = Page(render_report(warned)).text
    (contrast,) = comparison.contrasts
    assert contrast.these_scenes.relation == "better"
    places = [text.index(part) for part in (
        "pre<trained> is better than scratch, on these scenes and on scenes like these.",
        *contrast.sentences(), "differ in encoder (a | b).", "The arms differ in epochs", "beats the constant baseline",
    )]  # fmt: skip
    assert places == sorted(places)
    assert "The arms differ in epochs" not in Page(html).text


def test_the_standing_says_how_many_runs_beat_a_baseline(comparison: Comparison, html: str) -> None:
    text = Page(html).text
    for standing in comparison.standings:
        assert standing.where() in text
    assert "lower in 3 of 3 runs and in 2 of 2 scenes" in text
    assert "lower in 0 of 3 runs and in 0 of 2 scenes" in text


def test_all_contenders_that_print_as_the_best_are_marked(html: str) -> None:
    def best(metric: str) -> set[str]:
        cells = [cell for cell in Page(html).cells if "data-scene" not in cell]
        return {c["data-contender"] for c in cells if c["data-metric"] == metric and "best" in c["class"]}

    assert best("log10") == {"row"}


def test_options_that_differ_come_first_and_are_marked(html: str) -> None:
    rows = re.findall(r'<tr class="(differs|)"><th scope="row">(\w+)</th>', html)
    assert rows[0] == ("differs", "encoder")
    assert {name for css, name in rows if css} == {"encoder"}
    assert {name for _, name in rows} == {"encoder_name", "encoder", "seed", "loss", "epochs", "out"}


def test_curves_of_all_runs_and_levels_of_both_baselines_are_drawn(html: str) -> None:
    assert html.count("<polyline") == 2 * 6  # six runs, two charts
    assert "Training loss (berhu_log)" in html  # that which was recorded, whatever the options say
    assert html.count('class="ref r') == 2
    assert "scratch, scratch-1, epoch 2: 0.26" in html


def test_every_picture_is_inlined(html: str) -> None:
    assert Page(html).tags.count("img") == 2 + 2 + 2 * 3  # image, truth, scales, panels


def test_wide_tables_say_that_they_scroll(html: str) -> None:
    hint, box = (
        r'<p class="swipe[^"]*">← (\d+) columns[^<]*</p>\s*',
        r'<div class="scroll" tabindex="0"[^>]*>(.*?)</table>',
    )
    tables = re.findall(f"({hint})?{box}", html, re.S)
    assert len(tables) == html.count("<table")
    for said, number, table in tables:
        first = max(re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.S), key=lambda row: len(re.findall("<t[hd]", row)))
        columns = len(re.findall(r"<t[hd][ >]", first))
        assert bool(said) == (columns > 4), table[:300]
        assert not said or int(number) == columns
    assert re.search(r"@media \(max-width: 640px\) \{\s*\.swipe \{ display: block; \}", html)


@pytest.mark.slow
@pytest.mark.parametrize("number", [7, 12])
def test_many_arms_have_different_colours(fabricate_comparison, draw_images, number: int) -> None:
    arms = {f"arm{at}": [draw_images(0.3, at, SCENES)] for at in range(number)}
    html = render_report(fabricate_comparison(arms, {"row": ROW}))
    light, dark = html.split("@media (prefers-color-scheme: dark) { .s0")
    rules = [re.findall(r"\.?s(\d+) \{ --s: (#[0-9a-f]{6})", part) for part in (light, "s0" + dark)]
    for found in rules:
        assert len({colour for _, colour in found}) == len(found) == number
    chips = re.findall(r'<h3><i class="chip (s\d+) (\w+)"></i>arm(\d+)</h3>', html)
    assert [css for css, _, _ in chips] == [f"s{at}" for at in range(number)]


def test_one_arm_has_no_contrast(fabricate_comparison) -> None:
    html = render_report(fabricate_comparison({"alone": [CONSTANT]}, {"row": ROW}))
    assert "One arm: there is nothing to compare it with but the baselines." in html
    assert 'class="forest"' not in html


def test_without_baselines_there_is_a_report_all_the_same(fabricate_comparison, draw_images) -> None:
    html = render_report(fabricate_comparison({"a": [CONSTANT], "b": [ROW]}, {}))
    assert "fewer than 3 runs" in html
    assert "Runs that are lower than a baseline" not in html


def test_the_forest_holds_both_claims_of_each_contrast(comparison: Comparison, html: str) -> None:
    (contrast,) = comparison.contrasts
    for place, claim in contrast.claims():
        assert f"<small>{place}</small>" in html
        assert f"{claim.ratio:.3f} ({claim.low:.3f} to {claim.high:.3f})" in html
    assert html.count('class="point better"') == sum(claim.relation == "better" for _, claim in contrast.claims())


def test_depth_up_to_scale_is_compared_by_median_scaled_metrics_alone(fabricate_comparison, draw_images) -> None:
    arms = {
        name: [draw_images(mean, first + at, SCENES) for at in range(3)]
        for name, mean, first in (("a", 0.2, 0), ("b", 0.4, 9))
    }
    comparison = fabricate_comparison(arms, {}, protocol="median_scaled")
    assert comparison.contrasts[0].these_scenes.relation == "better"
    assert [guard.name for guard in comparison.contrasts[0].guards] == ["abs_rel", "silog", "delta1"]
    page = Page(render_report(comparison))
    assert "Guards: abs_rel, silog, delta1; an arm is not called better" in page.text
    cells = page.cells
    assert {cell["data-protocol"] for cell in cells} == {"median_scaled"}
    assert {cell["data-value"] for cell in cells if cell["data-metric"] == "rmse"} == {""}
