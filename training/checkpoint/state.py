"""The state of a run, as numbers: nothing here depends on ranks, workers, or how a batch was cut."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sharding.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """The samples that a run has trained on: since the order is a function of the seed, all that resuming needs.

    Counted at optimizer steps, so it is a multiple of the global batch: samples that were fetched, or accumulated
    without a step, are not in the weights and do not count. After the last step of an epoch the state is
    (epoch, samples_an_epoch); when the epoch has ended (validation, records) it is (epoch + 1, 0).

    Attributes:
        seed: Seed of the order, and of all that is random.
        batch_size: Global batch size: samples of an optimizer step.
        num_samples: Samples of the set, or subset.
        epoch: Present epoch, from 0.
        samples_consumed: Samples trained on in that epoch, over all ranks.
    """

    seed: int
    batch_size: int
    num_samples: int
    epoch: int = 0
    samples_consumed: int = 0

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps of an epoch; the tail of less than a global batch is dropped."""
        return self.num_samples // self.batch_size

    @property
    def samples_an_epoch(self) -> int:
        """Samples that an epoch trains on."""
        return self.steps_an_epoch * self.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps since the beginning of the run."""
        return self.epoch * self.steps_an_epoch + self.samples_consumed // self.batch_size

    @property
    def is_epoch_trained(self) -> bool:
        """Whether all steps of the epoch are done, and its end (validation, records) is not."""
        return self.samples_consumed == self.samples_an_epoch

    def after_step(self) -> "TrainState":
        """Return the state one optimizer step later."""
        return replace(self, samples_consumed=self.samples_consumed + self.batch_size)

    def after_epoch(self) -> "TrainState":
        """Return the state at the beginning of the next epoch."""
        return replace(self, epoch=self.epoch + 1, samples_consumed=0)

    def check_same_run(self, other: "TrainState") -> None:
        """Check that `other` counts the same samples in the same order as this state, which is that of a checkpoint.

        Raises:
            UsageError: It does not; the message has both values.
        """
        for name, text in (("num_samples", "samples"), ("seed", "seed"), ("batch_size", "global batch size")):
            if (before := getattr(self, name)) != (now := getattr(other, name)):
                raise UsageError(
                    f"the checkpoint was made with {text} {before}, this run has {now}: repeat the options that the "
                    "run was begun with, or begin another run"
                )

    def to_dict(self) -> dict[str, int]:
        """Return plain numbers, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "TrainState":
        """Read what `to_dict` wrote.

        Raises:
            DataError: The content is something else.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(content, Mapping) or sorted(content, key=str) != sorted(names):
            raise DataError(f"expected the state of a training run, with {', '.join(names)}, found another")
        if wrong := [name for name in names if type(content[name]) is not int or not 0 <= content[name] < 2**63]:
            raise DataError(f"{wrong[0]} in the state of a training run: expected a whole number, found another value")
        state = cls(**content)
        if not 0 < state.batch_size <= state.num_samples or state.samples_consumed > state.samples_an_epoch:
            raise DataError(f"expected the state of a training run, found impossible numbers: {dict(content)}")
        if state.samples_consumed % state.batch_size:
            raise DataError(f"samples_consumed in the state of a training run: expected whole batches, found {state}")
        return state

    def __str__(self) -> str:
        """Describe the state for users: epochs count from 1."""
        if self.samples_consumed == 0 and self.epoch > 0:  # the epoch before has just ended
            return f"end of epoch {self.epoch}, step {self.steps:,}"
        done = f"{self.samples_consumed:,} of {self.samples_an_epoch:,} samples"
        return f"epoch {self.epoch + 1}, {done}, step {self.steps:,}"
