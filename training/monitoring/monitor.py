"""How fast a run trains, and which share of its steps waits for data: a Lightning callback that logs both.

**What is measured.** A micro-batch begins when the training loop asks its loader for it and ends when the loop has
finished it; a step is as many of them as are accumulated. Time between two steps (validation, checkpoints, later
callbacks) belongs to neither. Every rank measures its waits by the clock of its device
(`training.monitoring.timeline`), and the largest share is logged with its rank (`training.monitoring.rank_waits`). The
rate is that of rank 0: the others take as many samples in the same time, because each step waits for all of them.

No step waits for an event: a window whose last event has not happened when it closes is logged when the next one does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.profilers import Profiler
from torch import Tensor

from training.monitoring.rank_waits import RankWaits
from training.monitoring.timeline import CudaTimeline, HostTimeline, Timeline, timeline_of

EVERY_STEPS = 10
RATE_TAG, WAIT_TAG, RANK_TAG = "throughput/samples_per_s", "throughput/wait_share", "throughput/wait_rank"

FETCH = "train_dataloader_next"
"""End of the name under which Lightning reports to its profiler that the training loop is in its loader."""


Marks = tuple[Any, Any]
"""Marks of a begin and an end."""


@dataclass(frozen=True, kw_only=True)
class LoggedSteps:
    """A window: steps whose figures are logged together.

    Attributes:
        step: The last one, counted from 0, as in Lightning's logs.
        samples: Samples of all ranks.
        whole: Begin and end of each micro-batch.
        waits: Begin and end of each wait in the loader.
    """

    step: int
    samples: int
    whole: tuple[Marks, ...]
    waits: tuple[Marks, ...]

    def figures(self, timeline: Timeline) -> tuple[float, float]:
        """Compute samples per second, and the share of the time that was spent waiting, 0 to 1."""
        seconds, waited = (sum(timeline.seconds(*span) for span in spans) for spans in (self.whole, self.waits))
        seconds = max(seconds, 1e-9)  # a clock may not have advanced: no division by 0
        return self.samples / seconds, waited / seconds


class ThroughputMonitor(Callback):
    """A callback that logs `throughput/samples_per_s`, of all ranks, and `throughput/wait_share`, from 0 to 1.

    The share is that of the rank that waits most, whose number is `throughput/wait_rank`.

    See `training.monitoring.monitor` for what they mean. They go to every logger of the trainer, at each step that is a
    multiple of `every`, and at the end of an epoch for the steps that are left. Both trainers have this callback; in a
    trainer of your own, put it before callbacks that take long at the end of a batch.

    Args:
        every: Optimizer steps of a window, at least 1.
        timeline: Clock; None is that of the device that is trained on.

    Example:
        >>> Trainer(callbacks=[ThroughputMonitor(every=50)], logger=TensorBoardLogger("run"))  # doctest: +SKIP
    """

    def __init__(self, every: int = EVERY_STEPS, timeline: Timeline | None = None) -> None:
        self._every, self._given = every, timeline
        self._timeline: Timeline = timeline or HostTimeline()
        self._profiler: Profiler | None = None
        self._ranks = RankWaits(1)
        self._steps = self._samples = 0
        # Of the present micro-batch: when the loop asked for it. Of the window: waits and micro-batches.
        self._asked: list[Any] = []
        self._waits: list[Marks] = []
        self._whole: list[Marks] = []
        self._closed: list[LoggedSteps] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to listen to the training loop."""
        self._timeline = self._given or timeline_of(trainer.strategy.root_device)
        self._ranks = RankWaits(trainer.world_size)
        listening: Any = trainer  # its type declares no profiler that can be set
        self._profiler = listening.profiler
        listening.profiler = Listener(listening.profiler, self._ask, self._have)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the step at which the run starts or resumes."""
        self._steps = trainer.global_step
        self._forget()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget that the loop asked for one more batch at the end of the last epoch."""
        self._forget()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the times of a micro-batch; close the window after its last step."""
        self._whole.append((self._asked[0], self._timeline.mark()))
        self._asked.clear()
        self._samples += count_samples(batch) * trainer.world_size  # all ranks have equally many
        before, self._steps = self._steps, trainer.global_step
        # Only a step that reaches a multiple of `every`; a micro-batch without a step changes nothing.
        if self._steps // self._every != before // self._every:
            self._close(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the window of the steps that are left."""
        if self._whole:
            self._close(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the windows that are left; only here the host waits for the device."""
        if self._closed and isinstance(self._timeline, CudaTimeline):
            torch.cuda.synchronize(trainer.strategy.root_device)
        self._log(trainer, last=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the trainer as it was."""
        self._leave(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the trainer as it was."""
        self._leave(trainer)

    def _ask(self) -> None:
        self._asked.append(self._timeline.mark())

    def _have(self) -> None:
        self._waits.append((self._asked[-1], self._timeline.mark()))

    def _forget(self) -> None:
        for marks in (self._asked, self._waits, self._whole):
            marks.clear()
        self._samples = 0

    def _close(self, trainer: Trainer) -> None:
        whole, waits = tuple(self._whole), tuple(self._waits)
        self._closed.append(LoggedSteps(step=self._steps - 1, samples=self._samples, whole=whole, waits=waits))
        self._forget()
        self._log(trainer)

    def _log(self, trainer: Trainer, last: bool = False) -> None:
        """Log the windows whose last event has happened on the devices of all ranks, oldest first."""
        # The last mark of a window is recorded after all its others in the same stream: when it is past, they are too.
        while self._closed and self._timeline.is_past(self._closed[0].whole[-1][1]):
            window = self._closed.pop(0)
            rate, share = window.figures(self._timeline)
            self._ranks.add((window.step, rate), share)
        if last:
            self._ranks.finish()
        for found in self._ranks.take():
            step, rate = found.window
            if trainer.is_global_zero:
                log_to_all(trainer, {RATE_TAG: rate, WAIT_TAG: found.share, RANK_TAG: float(found.rank)}, step)

    def _leave(self, trainer: Trainer) -> None:
        listening: Any = trainer
        if self._profiler is not None:
            listening.profiler, self._profiler = self._profiler, None


def log_to_all(trainer: Trainer, figures: dict[str, float], step: int) -> None:
    """Log figures of a step to every logger of a trainer."""
    for logger in trainer.loggers:
        logger.log_metrics(figures, step=step)


class Listener(Profiler):
    """A profiler that forwards to another one, and calls back when the training loop enters and leaves its loader.

    Lightning has no hook for that, but reports both moments to the profiler of the trainer.

    Args:
        profiler: The trainer's own profiler.
        ask: Called when the loop enters the loader.
        have: Called when it leaves it, with a batch or without.
    """

    def __init__(self, profiler: Profiler, ask: Callable[[], None], have: Callable[[], None]) -> None:
        super().__init__()
        self._profiler, self._ask, self._have = profiler, ask, have

    def start(self, action_name: str) -> None:
        """Forward the begin of an action; call `ask` if the loop enters its loader."""
        self._profiler.start(action_name)
        if action_name.endswith(FETCH):
            self._ask()

    def stop(self, action_name: str) -> None:
        """Call `have` if the loop leaves its loader; forward the end of an action."""
        if action_name.endswith(FETCH):
            self._have()
        self._profiler.stop(action_name)

    def describe(self) -> None:
        """Let the profiler write its report."""
        self._profiler.describe()

    def summary(self) -> str:
        """Return the profiler's summary."""
        return self._profiler.summary()


def count_samples(batch: Any) -> int:
    """Count the samples of a collated batch: the length of the first tensor in it, 0 if there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((count for part in parts if (count := count_samples(part))), 0)
