"""How often a comparison errs or finds nothing: simulated experiments, judged by the functions that `compare` calls.

An experiment is two arms of several runs, measured in scenes laid out as DIODE's. The logarithm of a run's scene mean
is a sum of independent normal terms: the scene (shared by the arms), arm x scene, the run (its seed), run x scene, and
run x scan and run x image, averaged over the scans and the views of the scene. A run may be several networks, each
tested on a fold of the scenes; then each has a term of the run of its own. Standard deviations and effects are those of
natural logarithms: 0.04 is 4 %.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy import stats

from training.report.contrast import ALPHA, RELATIONS, Estimate, on_scenes_like_these, on_these_scenes, relations
from training.report.variance import Floats

MARGIN = 0.1
CONTRASTS = (1, 6)
"""Numbers of contrasts in a study: a p-value is held against 0.05 / contrasts, the least level that Holm can leave."""

SCENE_SD = 0.3
"""How scenes differ for both arms. It cancels, so its size does not matter."""

Shares = dict[str, float]
"""By relation."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Scenes, scans and views of a part of DIODE; all scans have equally many views.

    Attributes:
        scans: Number of scans in each scene.
        views: Number of views in all scans together.
    """

    scans: tuple[int, ...]
    views: int

    @property
    def scenes(self) -> int:
        """Return the number of scenes."""
        return len(self.scans)


VALIDATION = Layout(scans=(5, 3, 2), views=446)
"""Outdoor scenes 00022 to 00024 of DIODE's validation split (scans by its diode_meta.json, views by its archive)."""

TRAINING = Layout(scans=(3, 3, 2, 11, 8, 3, 11, 12, 13, 12, 11, 10), views=16_884)
"""Outdoor scenes 00007 to 00018 of its training split."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of the terms."""

    run: float = 0.04
    run_scene: float = 0.04
    arm_scene: float = 0.0
    run_scan: float = 0.02
    run_image: float = 0.15


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all experiments of a row have in common.

    Attributes:
        runs: Runs of each arm.
        layout: Scenes.
        noise: Standard deviations.
        effect: How far the logarithm of arm a's metric is below that of arm b; 0: the arms are the same.
        folds: Networks of a run, each tested on every `folds`-th scene, whose noise of the run is independent.
    """

    runs: int
    layout: Layout
    noise: Noise = Noise()
    effect: float = 0.0
    folds: int = 1

    @property
    def design(self) -> str:
        """Return "RUNSxSCENES"."""
        return f"{self.runs}x{self.layout.scenes}"

    def generator(self, seed: int) -> Generator:
        """Return the random numbers of this setting, the same whatever else is simulated; folds do not change them."""
        numbers = (self.noise.run, self.noise.arm_scene, self.effect)
        return np.random.default_rng((seed, self.runs, self.layout.views, *(round(1e4 * one) for one in numbers)))


@dataclass(frozen=True, kw_only=True)
class Row:
    """Shares of the relations of arm a to arm b, over the experiments of a setting.

    Attributes:
        setting: The setting.
        these_scenes: By number of contrasts and relation, as judged on these scenes.
        scenes_like_these: By number of contrasts and relation, as judged on scenes like these.
    """

    setting: Setting
    these_scenes: dict[int, Shares]
    scenes_like_these: dict[int, Shares]


def simulate(setting: Setting, experiments: int, seed: int) -> Row:
    """Draw the experiments of a setting, and judge each with a margin of 10 %, at each of the levels.

    Args:
        setting: What the experiments have in common.
        experiments: How many there are.
        seed: Of the random numbers; with the same seed, a setting has the same experiments.
    """
    first, second = draw(setting, experiments, setting.generator(seed))
    return Row(
        setting=setting,
        these_scenes=_judge(on_these_scenes(first, second)),
        scenes_like_these=_judge(on_scenes_like_these(first, second)),
    )


def _judge(estimate: Estimate) -> dict[int, Shares]:
    found = {contrasts: relations(estimate, MARGIN, ALPHA / contrasts) for contrasts in CONTRASTS}
    return {contrasts: {name: float(np.mean(each == name)) for name in RELATIONS} for contrasts, each in found.items()}


def differing(shares: Shares) -> float:
    """Return the share of "better" and "worse" together: of arms that are the same, the rate of false positives."""
    return shares["better"] + shares["worse"]


def draw(setting: Setting, experiments: int, generator: Generator) -> tuple[Floats, Floats]:
    """Draw logarithms of scene means of arm a and arm b, float64 (experiments, runs, scenes)."""
    scenes = generator.normal(0.0, SCENE_SD, (experiments, 1, setting.layout.scenes))
    first, second = (scenes + _draw_arm(setting, experiments, generator) for _ in "ab")
    return first - setting.effect, second


def _draw_arm(setting: Setting, experiments: int, generator: Generator) -> Floats:
    layout, noise = setting.layout, setting.noise
    scans = np.array(layout.scans)
    views = layout.views * scans / scans.sum()
    fold = np.arange(layout.scenes) % setting.folds
    averaged = np.sqrt(noise.run_scene**2 + noise.run_scan**2 / scans + noise.run_image**2 / views)
    return (
        generator.normal(0.0, noise.arm_scene, (experiments, 1, layout.scenes))
        + generator.normal(0.0, noise.run, (experiments, setting.runs, setting.folds))[..., fold]
        + generator.normal(0.0, averaged, (experiments, setting.runs, layout.scenes))
    )


def false_positives_over_images(layout: Layout, noise: Noise, experiments: int, seed: int) -> float:
    """Compute how often a paired t-test over images would find that two runs of one arm differ.

    More runs an arm would not help: they divide the variances between and within images alike.
    """
    generator = np.random.default_rng((seed, layout.views))
    scans = sum(layout.scans)
    scan = np.arange(layout.views) * scans // layout.views
    scene = np.repeat(np.arange(layout.scenes), layout.scans)[scan]

    # Differences of two runs; that their variances are twice those of a run makes no difference to the test.
    of_images = generator.normal(0.0, noise.run_image, (experiments, layout.views))
    of_images += generator.normal(0.0, noise.run_scan, (experiments, scans))[:, scan]
    of_images += generator.normal(0.0, noise.run_scene, (experiments, layout.scenes))[:, scene]
    of_images += generator.normal(0.0, noise.run, (experiments, 1))
    return float(np.mean(stats.ttest_1samp(of_images, 0.0, axis=1).pvalue < ALPHA))


CALIBRATED = ((3, VALIDATION), (5, VALIDATION), (10, VALIDATION), (5, TRAINING))
"""Designs (runs, scenes) whose rates of false positives are bounded."""

MOST_FALSE = {"aa_these_scenes": 0.06, "aa_scenes_like_these": 0.06, "aa_scenes_like_these_arm_scene_10": 0.08}
LEAST_POWER = {"power_10_5x12": 0.75}


def calibrate(experiments: int, seed: int) -> dict[str, Any]:
    """Compute the shares that are bounded, with 4 % of noise by run and by run x scene.

    Returns:
        - aa_these_scenes, aa_scenes_like_these: by design (RUNSxSCENES), the rate of "better" and "worse" between two
          arms that are the same.
        - aa_scenes_like_these_arm_scene_10: the same of arms that are the same over all scenes there are, and differ
          by 10 % (standard deviation of each) in any one.
        - power_10_5x12: how often an arm that is better by 10 % is found to be, by 5 runs on scenes like the 12 of
          training, with 5 % of arm x scene.
    """
    same = [simulate(Setting(runs=runs, layout=layout), experiments, seed) for runs, layout in CALIBRATED]
    noise, effective = Noise(arm_scene=0.1), Setting(runs=5, layout=TRAINING, noise=Noise(arm_scene=0.05), effect=0.1)
    on_average = [
        simulate(Setting(runs=runs, layout=layout, noise=noise), experiments, seed) for runs, layout in CALIBRATED
    ]
    return {
        "aa_these_scenes": {row.setting.design: differing(row.these_scenes[1]) for row in same},
        "aa_scenes_like_these": {row.setting.design: differing(row.scenes_like_these[1]) for row in same},
        "aa_scenes_like_these_arm_scene_10": {
            row.setting.design: differing(row.scenes_like_these[1]) for row in on_average
        },
        "power_10_5x12": simulate(effective, experiments, seed).scenes_like_these[1]["better"],
    }


def find_missed(shares: Mapping[str, Any]) -> list[str]:
    """Find the shares of `calibrate` that miss their bounds, each as a line."""
    found = [
        f"{name} {design}: {rate:.4f}, above {limit}"
        for name, limit in MOST_FALSE.items()
        for design, rate in shares[name].items()
        if rate > limit
    ]
    return found + [
        f"{name}: {shares[name]:.4f}, below {limit}" for name, limit in LEAST_POWER.items() if shares[name] < limit
    ]


RUNS = (3, 5, 10)
RUN_SDS = (0.02, 0.04, 0.08)
EFFECTS = (0.0, 0.1, 0.2)


def iter_table(layout: Layout, arm_scene: float, experiments: int, seed: int, folds: int = 1) -> Iterator[Row]:
    """Simulate the design table of a layout: by runs, noise of the run, and effect."""
    for runs, run, effect in product(RUNS, RUN_SDS, EFFECTS):
        noise = Noise(run=run, arm_scene=arm_scene)
        yield simulate(Setting(runs=runs, layout=layout, noise=noise, effect=effect, folds=folds), experiments, seed)
