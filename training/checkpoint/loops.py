"""Internals of Lightning 2.6 that must be set: its counters, which follow from a state, and its signal handlers.

Lightning counts the micro-batches of one rank. A run that is resumed with other ranks or micro-batches has other counts
at the same place, so the counts of a checkpoint are replaced by those that follow from the state. How Lightning reads
them is in its `loops/fit_loop.py` and `loops/training_epoch_loop.py` (`update_restart_stage`, `on_advance_end`).
"""

from typing import Any

from pytorch_lightning import Trainer

from training.checkpoint.state import TrainState

LoopCounts = dict[str, int]


def place_loops(loops: dict[str, Any], state: TrainState, accumulation: int) -> None:
    """Set the loops of a checkpoint exactly to `state`.

    Args:
        loops: `checkpoint["loops"]["fit_loop"]`; changed in place.
        state: State of the run; an epoch that is trained but has not ended has yet to be validated.
        accumulation: Micro-batches of a step, in the resumed run.
    """
    # In micro-batches of one rank: those of an epoch, and those done in the present one.
    whole = state.steps_an_epoch * accumulation
    done = state.samples_consumed // state.batch_size * accumulation
    # An epoch that is started and not processed is continued in the middle (`RESTARTED_MID_EPOCH`), else begun.
    began = state.epoch + (done > 0)
    pending = state.is_epoch_trained
    epochs = {"ready": began, "started": began, "processed": state.epoch, "completed": state.epoch}
    validation = {"ready": int(pending), "started": int(pending), "processed": 0, "completed": 0}
    loops["epoch_progress"] = {"total": epochs, "current": dict(epochs)}
    loops["epoch_loop.batch_progress"] = {
        "total": _all(state.epoch * whole + done),
        "current": _all(done),
        "is_last_batch": pending,
    }
    loops["epoch_loop.val_loop.batch_progress"] = {"total": validation, "current": _all(0), "is_last_batch": False}
    # The step number of Lightning's logs; `on_advance_end` adds 1 after the pending validation.
    loops["epoch_loop.state_dict"] = {"_batches_that_stepped": state.steps - pending}


def _all(count: int) -> LoopCounts:
    return dict.fromkeys(("ready", "started", "processed", "completed"), count)


def begin_epoch_anew(trainer: Trainer) -> None:
    """Tell Lightning that the coming epoch starts at its first batch.

    Otherwise it takes 0 batches for a finished epoch, if the length of training is given in steps.
    """
    trainer.fit_loop.epoch_loop.restarting = False


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep Lightning from handling SIGTERM: its handler starts a collective, which the other ranks do not join."""
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
