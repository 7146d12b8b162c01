"""How fast a run trains, and which share of its steps waits for data: a Lightning callback that logs both.

**What is measured.** A micro-batch begins when the training loop asks its loader for it and ends when the loop has
finished it; a step is as many of them as are accumulated. Time between two steps (validation, checkpoints, later
callbacks) belongs to neither. Only rank 0 measures, and only itself: the other ranks take as many samples in the same
time, because each step waits for all of them.

**Why a GPU needs its own clock.** The training loop only queues work on a GPU and continues at once. While it then
waits in the loader, the GPU still computes: data that arrive in the meantime delay nothing. What counts is the time for
which the GPU was idle because the loop was in the loader, max(0, r - max(q, d)): the loop asks at q and has the batch
at r, and at d the GPU has done all work queued before. An event that is recorded in the GPU's stream happens when the
work before it is done: one recorded at q happens at max(q, d), one recorded at r, with no work between them, at
max(r, q, d). The difference of the two is the formula above, and both times come from the GPU's own clock. So a
`Timeline` of such events replaces the host's clock, and all else is the same. Where a loop waits for the result of each
step, as with a loss that is printed, both clocks give the same.

            q             d            r
    loop    |--- waits in the loader --|- queues work -
    GPU     -- computes --|--- idle ---|-- computes ---        wait = r - d; 0 if d is after r

No step waits for an event: a window whose last event has not happened when it closes is logged when the next one does.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.profilers import Profiler
from torch import Tensor

EVERY_STEPS = 10
RATE_TAG, WAIT_TAG = "throughput/samples_per_s", "throughput/wait_share"

FETCH = "train_dataloader_next"
"""End of the name under which Lightning reports to its profiler that the training loop is in its loader."""


class Timeline(Protocol):
    """A clock whose marks may become known later than they are made."""

    def mark(self) -> Any:
        """Mark this moment, or the one at which all work queued before is done."""
        ...

    def is_past(self, mark: Any) -> bool:
        """Return whether the moment of the mark is known."""
        ...

    def seconds(self, begin: Any, end: Any) -> float:
        """Return the time from one mark to another, seconds; both must be past."""
        ...


class HostTimeline:
    """The host's clock: for a device that has done its work when the loop continues, such as a CPU.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def mark(self) -> float:
        """Return the present time."""
        return self._clock()

    def is_past(self, mark: float) -> bool:
        """Return True: the time of a mark is known at once."""
        return True

    def seconds(self, begin: float, end: float) -> float:
        """Return the difference."""
        return end - begin


class CudaTimeline:
    """The clock of a CUDA device, marked by events in its current stream.

    Args:
        device: The CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> torch.cuda.Event:
        """Record an event behind all work queued in the stream; the host does not wait for it."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def is_past(self, mark: torch.cuda.Event) -> bool:
        """Return whether the device has reached the event."""
        return bool(mark.query())

    def seconds(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Return seconds by the device's clock, whose resolution is about a microsecond."""
        return float(begin.elapsed_time(end)) / 1000  # from ms


def timeline_of(device: torch.device) -> Timeline:
    """Return the clock by which work on `device` is timed."""
    return CudaTimeline(device) if device.type == "cuda" else HostTimeline()


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

    def figures(self, timeline: Timeline) -> dict[str, float]:
        """Compute what is logged: samples per second, and the share of the time that was spent waiting, 0 to 1."""
        seconds, waited = (sum(timeline.seconds(*span) for span in spans) for spans in (self.whole, self.waits))
        seconds = max(seconds, 1e-9)  # a clock may not have advanced: no division by 0
        return {RATE_TAG: self.samples / seconds, WAIT_TAG: waited / seconds}


class ThroughputMonitor(Callback):
    """A callback that logs `throughput/samples_per_s`, of all ranks, and `throughput/wait_share`, from 0 to 1.

    See `training.profiling.monitor` for what they mean. They go to every logger of the trainer, at each step that is a
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
        self._steps = self._samples = 0
        # Of the present micro-batch: when the loop asked for it. Of the window: waits and micro-batches.
        self._asked: list[Any] = []
        self._waits: list[Marks] = []
        self._whole: list[Marks] = []
        self._closed: list[LoggedSteps] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to listen to the training loop, on rank 0."""
        if trainer.is_global_zero:
            self._timeline = self._given or timeline_of(trainer.strategy.root_device)
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
        if not self._asked:
            return  # only rank 0 listens
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
        self._log(trainer)

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

    def _log(self, trainer: Trainer) -> None:
        """Log the windows whose last event has happened on the device, oldest first."""
        # The last mark of a window is recorded after all its others in the same stream: when it is past, they are too.
        while self._closed and self._timeline.is_past(self._closed[0].whole[-1][1]):
            window = self._closed.pop(0)
            for logger in trainer.loggers:
                logger.log_metrics(window.figures(self._timeline), step=window.step)

    def _leave(self, trainer: Trainer) -> None:
        listening: Any = trainer
        if self._profiler is not None:
            listening.profiler, self._profiler = self._profiler, None


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
