import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from training.model.metrics import METRICS, PROTOCOLS
from training.report.comparison import Arm, BaselineResult, Comparison, Epoch, Example, Gallery, Panel
from training.report.page import render_report
from training.report.standing import compare_evaluations

ARM = {"1_a": 0.2, "1_b": 0.3, "2_a": 0.25, "2_b": 0.3123456789}
CONSTANT = {"1_a": 0.5, "1_b": 0.6, "2_a": 0.4, "2_b": 0.9}
ROW = {"1_a": 0.1, "1_b": 0.2, "2_a": 0.2, "2_b": 0.25}
PNG = b"\x89PNG"


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


@pytest.fixture
def comparison(fabricate) -> Comparison:
    def arm(name: str, values: dict[str, float], encoder: str) -> Arm:
        config = {"encoder_name": "resnet18", "encoder": encoder, "seed": 0, "loss": "silog", "epochs": 2, "out": name}
        history = tuple(Epoch(epoch=at, train_loss=1 / at, val_abs_rel=0.5 / at) for at in (1, 2))
        return Arm(
            name=name, folder=Path(name), config=config, history=history, evaluation=fabricate(name, values),
            train=replace(fabricate.set, name="hand-train"),
        )  # fmt: skip

    def baseline(name: str, values: dict[str, float]) -> BaselineResult:
        return BaselineResult(
            name=name, kind=name, detail=f"detail of {name}", evaluation=fabricate(name, values), train=fabricate.set
        )

    arms = (arm("pre<trained>", ARM, "runs/pretrained"), arm("scratch", CONSTANT, "none"))
    baselines = (baseline("constant median", CONSTANT), baseline("row mean", ROW))
    panels = tuple(Panel(name=one.name, abs_rel=0.5, depth_png=PNG, error_png=PNG) for one in (*arms, baselines[1]))
    example = Example(key="1_a", scene="1", reason="why", image_png=PNG, truth_png=PNG, panels=panels)
    return Comparison(
        arms=arms,
        baselines=baselines,
        standings=tuple(
            compare_evaluations((a.name, a.evaluation), (b.name, b.evaluation)) for a in arms for b in baselines
        ),
        warnings=(),
        val=fabricate.set,
        gallery=Gallery(
            examples=(example,), near_m=2.0, far_m=50.0, max_factor=2.0, depth_bar_png=PNG, error_bar_png=PNG
        ),
        command="depthstream compare a b --out report.html",
        versions={"torch": "2.0"},
    )


def test_every_metric_of_every_contender_is_in_the_report_exactly(comparison: Comparison) -> None:
    cells = Page(render_report(comparison)).cells
    found = {(c["data-contender"], c["data-protocol"], c["data-metric"]): float(c["data-value"])
             for c in cells if "data-scene" not in c}  # fmt: skip
    expected = {
        (name, protocol, metric): value
        for name, evaluation in comparison.contenders()
        for protocol in PROTOCOLS
        for metric, value in evaluation.mean(protocol).items()
    }
    assert found == expected
    assert len(expected) == 4 * len(PROTOCOLS) * len(METRICS)


def test_every_scene_of_every_contender_is_in_the_report_exactly(comparison: Comparison) -> None:
    cells = [cell for cell in Page(render_report(comparison)).cells if cell.get("data-metric") == "abs_rel"]
    found = {(c["data-contender"], c["data-scene"]): float(c["data-value"]) for c in cells if "data-scene" in c}
    expected = {
        (name, scene): row["abs_rel"]
        for name, evaluation in comparison.contenders()
        for scene, row in evaluation.scenes("headline").items()
    }
    assert found == expected


def test_printed_values_are_the_exact_ones_rounded(comparison: Comparison) -> None:
    for cell in Page(render_report(comparison)).cells:
        digits = len(cell["text"].split(".")[1])
        assert cell["text"] == f"{float(cell['data-value']):.{digits}f}"


def test_the_page_refers_to_nothing_outside_itself(comparison: Comparison) -> None:
    html = render_report(comparison)
    page = Page(html)
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    assert not re.search(r"https?://|@import|url\(", html)


def test_names_cannot_break_the_page(comparison: Comparison) -> None:
    html = render_report(comparison)
    assert "pre<trained>" not in html
    assert "pre<trained>" in Page(html).text


def test_the_verdict_stands_in_the_report(comparison: Comparison) -> None:
    text = Page(render_report(comparison)).text
    assert "1 of 2 arms beats the constant median, and none of the 2 arms beats the row mean on log10." in text
    assert "equals the constant median: 0.600 against 0.600, the same" in text
    assert "does not beat the row mean: 0.266 against 0.188, 42 % higher" in text
    assert comparison.caution() in text


def test_warnings_come_first(comparison: Comparison) -> None:
    warned = replace(comparison, warnings=("The arms were not trained on the same set.",))
    text = Page(render_report(warned)).text
    assert text.index("not trained on the same set") < text.index("beats the constant median:")
    assert warned.verdict()[0] == "The arms were not trained on the same set."
    assert "not trained on the same set" not in Page(render_report(comparison)).text


def test_all_contenders_that_print_as_the_best_are_marked(comparison: Comparison) -> None:
    def best(metric: str) -> set[str]:
        cells = [cell for cell in Page(render_report(comparison)).cells if "data-scene" not in cell]
        return {c["data-contender"] for c in cells if c["data-metric"] == metric and "best" in c["class"]}

    assert best("abs_rel") == {"row mean"}
    assert best("delta1") == {"scratch", "constant median"}  # a multiple of abs_rel here: equal, and the highest


def test_options_that_differ_come_first_and_are_marked(comparison: Comparison) -> None:
    rows = re.findall(r'<tr class="(differs|)"><th scope="row">(\w+)</th>', render_report(comparison))
    assert rows[0] == ("differs", "encoder")
    assert {name for css, name in rows if css} == {"encoder"}
    assert {name for _, name in rows} == {"encoder_name", "encoder", "seed", "loss", "epochs", "out"}


def test_curves_of_all_arms_and_levels_of_both_baselines_are_drawn(comparison: Comparison) -> None:
    html = render_report(comparison)
    assert html.count("<polyline") == 4  # two arms, two charts
    assert html.count('class="ref r') == 2
    assert "scratch, epoch 2: 0.25" in html


def test_every_picture_is_inlined(comparison: Comparison) -> None:
    assert Page(render_report(comparison)).tags.count("img") == 2 + 2 + 2 * 3  # image, truth, scales, panels
