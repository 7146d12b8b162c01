"""What of Lightning 2.6 must be set right from within: its counters, derived from a state, and its signal handlers.

Lightning counts the micro-batches of one rank. A run that goes on with other ranks or micro-batches has other counts
at the same place, so what a checkpoint says of them is replaced by what follows from the state. How Lightning reads
them back is in its `loops/fit_loop.py` and `loops/training_epoch_loop.py` (`update_restart_stage`, `reset`).
"""

from typing import Any

from pytorch_lightning import Trainer

from training.checkpoint.state import TrainState

LoopCounts = dict[str, int]


def place_loops(loops: dict[str, Any], state: TrainState, accumulation: int) -> None:
    """Make the loops of a checkpoint stand exactly at `state`.

    Args:
        loops: `checkpoint["loops"]["fit_loop"]`; changed in place.
        state: Where the run stands; a trained epoch that has not ended is one that has yet to be validated.
        accumulation: Micro-batches of a step, in the run that goes on.
    """
    whole = state.steps_an_epoch * accumulation
    done = state.samples_consumed // state.batch_size * accumulation
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
    # The number that Lightning logs by; it counts the last batch once more when it turns to the pending validation.
    loops["epoch_loop.state_dict"] = {"_batches_that_stepped": state.steps - pending}


def _all(count: int) -> LoopCounts:
    return dict.fromkeys(("ready", "started", "processed", "completed"), count)


def begin_epoch_afresh(trainer: Trainer) -> None:
    """Tell Lightning that the epoch to come is not half done.

    It takes 0 batches for a finished epoch otherwise, if the length of training is given in steps.
    """
    trainer.fit_loop.epoch_loop.restarting = False


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep Lightning from handling SIGTERM: it starts a collective in the handler, which other ranks do not join."""
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
