"""Run folders without a checkpoint, as the reader of arms needs them; comparisons whose values are given."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharding.reading.shard_set import ShardSet
from tests.training.report.whole import FAR, NEAR, ONES, ROWS, TRUTH
from training.baselines.fitted import constant_baseline
from training.config import FinetuneConfig, PretrainConfig
from training.evaluation.results import Evaluation
from training.metrics.names import METRIC, PROTOCOL
from training.metrics.protocols import UP_TO_SCALE
from training.report.arms.encoder import Encoder
from training.report.arms.run import Facts, Run
from training.report.comparison import ArmResult, BaselineResult, Comparison, Epoch, RunResult
from training.report.gallery import Example, Gallery, Panel
from training.report.judging import judge
from training.report.standing import compare_runs
from training.runfolder import SetRecord, save_config

TRAIN, VAL = "a" * 64, "b" * 64
"""Identities of the sets of a run."""


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes config.yaml and metrics.json of a fine-tuning run; `facts` are entries of the latter."""

    def write(name: str, facts: dict[str, Any] | None = None, /, **options: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config = {"set": "sets/train", "val": "sets/val", "out": str(folder), "encoder_name": "resnet18", "epochs": 2}
        save_config(folder, FinetuneConfig(**(config | options)))
        sets = {"train": {"identity": TRAIN, "name": "train"}, "val": {"identity": VAL, "name": "val"}}
        (folder / "metrics.json").write_text(json.dumps(sets | {"epochs": 2, "finished": True} | (facts or {})))
        return folder

    return write


@pytest.fixture
def write_encoder(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes what of a pretraining run tells how it was made."""

    def write(name: str, identity: str = "c" * 64, content: bytes = b"weights", **options: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        save_config(folder, PretrainConfig(sets=("sets/mega",), out=str(folder), **options))
        (folder / "sets.json").write_text(json.dumps([{"name": "mega", "identity": identity, "samples": 8}]))
        (folder / "encoder.pt").write_bytes(content)
        return folder

    return write


Images = dict[str, float]
"""Deciding metric of each image, by key SCENE_NUMBER."""

PNG = b"\x89PNG"


def with_shares(evaluation: Evaluation) -> Evaluation:
    """Return a fabricated evaluation whose delta metrics are shares that fall when the deciding metric rises."""
    table = evaluation.table.copy()
    for power in (1, 2, 3):
        table[f"delta{power}"] = np.exp(-table[METRIC] / power)
    return replace(evaluation, table=table)


def images(mean: float, seed: int, scenes: Sequence[str] = ("1", "2", "3"), noise: float = 0.02) -> Images:
    """Draw the metric of two images a scene around a mean."""
    random = np.random.default_rng(seed)
    return {f"{scene}_{one}": float(mean * np.exp(noise * random.normal())) for scene in scenes for one in "ab"}


def up_to_scale(run: RunResult) -> RunResult:
    """Return a run as it is of depth up to scale: with the only protocol for it."""
    one = run.evaluation
    table = one.table[one.table["protocol"] == "median_scaled"]
    return replace(run, evaluation=replace(one, table=table, protocols={"median_scaled": UP_TO_SCALE}))


@pytest.fixture(scope="session")
def fabricate_comparison(fabricate) -> Callable[..., Comparison]:
    """A function that makes a comparison of arms, each given by the values of its runs."""

    def make_run(arm: str, number: int, values: Images, **config: Any) -> RunResult:
        sets = {name: SetRecord(identity=name[0] * 64, name=name) for name in ("train", "val")}
        options = {"encoder_name": "resnet18", "encoder": arm, "seed": number, "loss": "silog", "epochs": 2}
        return RunResult(
            label=f"{arm}-{number}",
            run=Run(
                name=f"{arm}-{number}",
                folder=Path(f"runs/{arm}-{number}"),
                config=options | {"out": f"runs/{arm}-{number}"} | config,
                facts=Facts(**sets, epochs=2, loss="berhu_log", seconds=3600.0, device="cpu"),
                encoder=Encoder(kind="random", path="none", options={}, sha256=None),
            ),
            history=tuple(Epoch(epoch=at, train_loss=1 / at, val={"log10": 0.5 / at + 0.01 * number}) for at in (1, 2)),
            evaluation=with_shares(fabricate(f"{arm}-{number}", values)),
        )

    def make(
        arms: Mapping[str, Sequence[Images]],
        baselines: Mapping[str, Images],
        margin: float = 0.1,
        protocol: str = PROTOCOL,
        **config: Any,
    ) -> Comparison:
        results = [
            ArmResult(name=name, runs=tuple(make_run(name, at, one, **config) for at, one in enumerate(values)))
            for name, values in arms.items()
        ]
        if protocol != PROTOCOL:
            results = [replace(arm, runs=tuple(map(up_to_scale, arm.runs))) for arm in results]
        evaluations = {arm.name: arm.evaluations for arm in results}
        lines = [
            BaselineResult(
                name=name,
                kind=name,
                detail=f"detail of {name}",
                evaluation=with_shares(fabricate(name, values)),
                predictor=constant_baseline(5.0),
                train="hand-train (identity ttt)",
                runs=tuple(run.label for arm in results for run in arm.runs),
            )
            for name, values in baselines.items()
        ]
        shown = [*arms, *(["row"] if "row" in baselines else [])]
        panels = tuple(Panel(name=name, value=0.5, depth_png=PNG, error_png=PNG) for name in shown)
        example = Example(key="1_a", scene="1", reason="why", image_png=PNG, truth_png=PNG, panels=panels)
        return Comparison(
            arms=tuple(results),
            baselines=tuple(lines),
            standings=tuple(
                compare_runs(arm.name, line.name, [(one, line.evaluation) for one in arm.evaluations])
                for arm in results
                for line in lines
            ),
            contrasts=tuple(
                replace(one, factors=("encoder (a | b)",))
                for one in judge(evaluations, list(combinations(arms, 2)), margin, protocol)
            ),
            factors=("encoder (a | b)",),
            differing=("encoder",),
            warnings=(),
            val=fabricate.set,
            note="The last checkpoint of each run is compared.",
            margin=margin,
            named=True,
            gallery=Gallery(
                examples=(example,), near_m=2.0, far_m=50.0, max_factor=2.0, depth_bar_png=PNG, error_bar_png=PNG
            ),
            command="depthstream compare a b --out report.html",
            versions={"torch": "2.0"},
            protocol=protocol,
        )

    return make


@pytest.fixture(scope="session")
def draw_images() -> Callable[..., Images]:
    """The function `images`."""
    return images


@pytest.fixture(scope="session")
def plausible() -> Callable[[Evaluation], Evaluation]:
    """The function `with_shares`."""
    return with_shares


@pytest.fixture(scope="module")
def sets(make_set) -> tuple[ShardSet, ShardSet]:
    """Training and validation set."""
    return make_set([("00001", ROWS, ONES)]), make_set([(scene, depth, ONES) for scene, depth in TRUTH.items()], "val")


@pytest.fixture(scope="module")
def arms(make_run, sets) -> tuple[list[Path], list[Path]]:
    """Three runs of an arm, and three of another with another learning rate, a copy of each other but for the seed."""
    near = [make_run(f"near-{seed}", depth, *sets, seed=seed, facts={"seconds": 1800.0 * (seed + 1), "device": "cpu"})
            for seed, depth in enumerate(NEAR)]  # fmt: skip
    far = [make_run(f"far-{seed}", depth, *sets, seed=seed, learning_rate=1e-5) for seed, depth in enumerate(FAR)]
    return near, far
