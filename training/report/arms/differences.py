"""In which factors groups of runs differ, and what of that limits their comparison."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.report.arms.encoder import Encoder
from training.report.arms.identity import CROP, deciding, frozen, is_validated
from training.report.arms.run import Run
from training.report.arms.sets import judged_on, trained_on

Group = Sequence[Run]

LABELS = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "crop": "crop",
    "scale": "scale",
    "set": "training set",
    "where": "part of the training set",
    "holdout_scenes": "held-out scenes",
    "val": "validation set",
    "val_where": "part of the validation set",
}
"""Factors whose difference is warned about, and what they are called: with them arms differ in more than what is
usually compared."""


@dataclass(frozen=True, kw_only=True)
class Factor:
    """Something in which groups differ.

    Attributes:
        option: Name of the option, or "crop" for those of `CROP`.
        name: What it is called.
        values: Its value in each group, in words.
        detail: What the values are of, if not of the option as a whole.
    """

    option: str
    name: str
    values: tuple[str, ...]
    detail: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """Return the names of its options in a run's config."""
        return CROP if self.option == "crop" else (self.option,)

    def clause(self, names: Sequence[str]) -> str:
        """Describe it in a clause, such as "encoder (augmentation: conservative | aggressive)".

        Args:
            names: Names of the groups, which are told where there are more than two.
        """
        detail = f"{self.detail}: " if self.detail else ""
        return f"{self.name} ({detail}{join_values(self.values, names)})"


def join_values(values: Sequence[str], names: Sequence[str]) -> str:
    """Join the values of groups with " | ": of two in their order, of more with the names of those that have each."""
    if len(names) <= 2:
        return " | ".join(values)
    having: dict[str, list[str]] = {}
    for value, name in zip(values, names, strict=True):
        having.setdefault(value, []).append(name)
    return " | ".join(f"{value} [{', '.join(members)}]" for value, members in having.items())


def find_factors(groups: Sequence[Group]) -> list[Factor]:
    """Find the options in which groups of runs differ; seeds, and where a run is computed, are none."""
    options = [[deciding(run) for run in group] for group in groups]
    found = []
    for name in dict.fromkeys(name for group in options for one in group for name in one):
        values = [{frozen(one.get(name)) for one in group} for group in options]
        if len(set(map(frozenset, values))) > 1:
            found.append(_factor(name, groups))
    return found


def _factor(option: str, groups: Sequence[Group]) -> Factor:
    if option == "encoder":
        return _encoder_factor(groups)
    name = LABELS.get(option, option.replace("_", " "))
    show = _SHOWN.get(option, lambda run: _word(deciding(run).get(option)))
    return Factor(option=option, name=name, values=tuple(_each(group, show) for group in groups))


def _each(group: Group, show: Callable[[Run], str]) -> str:
    return ", ".join(dict.fromkeys(show(run) for run in group))


def _word(value: Any) -> str:
    return "default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


_SHOWN: dict[str, Callable[[Run], str]] = {
    "set": lambda run: trained_on(run).describe(),
    "val": lambda run: judged_on(run).describe() if is_validated(run) else "held-out scenes",
    "where": lambda run: run.config["where"] or "all",
    "val_where": lambda run: (judged_on(run).where or "all") if is_validated(run) else "held-out scenes",
    "holdout_scenes": lambda run: run.config["holdout_scenes"] or "none",
}


def _encoder_factor(groups: Sequence[Group]) -> Factor:
    """Name what encoders differ in: of pretrained ones the options of their pretraining."""
    runs = [run for group in groups for run in group]
    pretrained = [run.encoder.options for run in runs if run.encoder.kind == "pretrained"]
    names = dict.fromkeys(name for options in pretrained for name in options)
    differing = [name for name in names if len({frozen(options.get(name)) for options in pretrained}) > 1]
    alone = len(differing) == 1 and len(pretrained) == len(runs)

    def show(run: Run) -> str:
        if run.encoder.kind != "pretrained" or not differing:
            return run.encoder.describe()
        return ", ".join(
            _option(run.encoder, name) if alone else f"{name.replace('_', ' ')} {_option(run.encoder, name)}"
            for name in differing
        )

    values = tuple(_each(group, show) for group in groups)
    return Factor(
        option="encoder", name="encoder", values=values, detail=differing[0].replace("_", " ") if alone else ""
    )


def _option(encoder: Encoder, name: str) -> str:
    value = encoder.options.get(name)
    if name == "sets" and isinstance(value, list):
        return " and ".join(str(identity)[:12] for identity in value)
    return _word(value)
