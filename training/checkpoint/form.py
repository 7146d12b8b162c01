"""Whether what a checkpoint holds has the form of what the running trainer would write: names and types, no values."""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback
from torch import Tensor
from torch.optim import Optimizer

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from training.network.saved import is_plain

_SCALARS = (bool, int, float, str, type(None))
_MAX_DEPTH = 16


def check_progress(checkpoint: Mapping[str, Any], trainer: Any, but: Callback) -> None:
    """Check the loops of a checkpoint, and the states of callbacks but one, before they are restored.

    Raises:
        DataError: They are not those of this trainer.
    """
    check_form(checkpoint["loops"].get("fit_loop"), trainer.fit_loop.state_dict(), "the checkpoint: loops/fit_loop")
    for callback in trainer.callbacks:
        key = callback.state_key
        if callback is not but and key in checkpoint["callbacks"]:
            check_form(
                checkpoint["callbacks"][key], callback.state_dict(), f"the checkpoint: callbacks/{shorten(key, 60)}"
            )


def check_optimization(checkpoint: Mapping[str, Any], trainer: Any) -> None:
    """Check the states of optimizers, schedules and precision in a checkpoint, before they are restored.

    Raises:
        DataError: They are not those of this trainer.
    """
    schedules = [one.scheduler for one in trainer.lr_scheduler_configs]
    for name, own in (("optimizer_states", trainer.optimizers), ("lr_schedulers", schedules)):
        if len(checkpoint[name]) != len(own):
            raise DataError(f"the checkpoint: {name}: expected {len(own)}, found {len(checkpoint[name])}")
    for number, optimizer in enumerate(trainer.optimizers):
        check_optimizer(checkpoint["optimizer_states"][number], optimizer, f"the checkpoint: optimizer_states/{number}")
    for number, schedule in enumerate(schedules):
        check_form(
            checkpoint["lr_schedulers"][number],
            schedule.state_dict(),
            f"the checkpoint: lr_schedulers/{number}",
            may_lack=True,
        )
    plugin = trainer.precision_plugin
    if (name := type(plugin).__qualname__) in checkpoint:
        check_form(checkpoint[name], plugin.state_dict(), f"the checkpoint: {name}")


def check_form(found: Any, wanted: Any, place: str, *, may_lack: bool = False, depth: int = _MAX_DEPTH) -> None:
    """Check that a value has the form of another: dicts of the same keys, numbers for numbers, tensors of one shape.

    A list may have another length, and its elements the form of any element. What is None on one side may be a number,
    text or tensor on the other: it may not have been known yet.

    Args:
        found: The value.
        wanted: The other.
        place: Where it is, for the message.
        may_lack: Whether keys may be missing, which an earlier version of a library did not have.
        depth: How deep the values may be nested.

    Raises:
        DataError: It has not; the message names the place.
    """
    if isinstance(wanted, Mapping) and isinstance(found, Mapping) and depth:
        for key in dict.fromkeys((*wanted, *found)):
            inner = f"{place}/{shorten(escape(str(key)), 100)}"
            if key in wanted and key in found:
                check_form(found[key], wanted[key], inner, may_lack=may_lack, depth=depth - 1)
            elif key in found or not may_lack:
                raise DataError(f"{inner}: expected {_word(wanted, key)}, found {_word(found, key)}")
    elif isinstance(wanted, list | tuple) and isinstance(found, list | tuple) and depth:
        for number, one in enumerate(found if wanted else ()):
            inner = f"{place}/{number}"
            check_form(one, wanted[min(number, len(wanted) - 1)], inner, may_lack=may_lack, depth=depth - 1)
    elif not _is_alike(found, wanted):
        raise DataError(f"{place}: expected {_describe(wanted)}, found {_describe(found)}")


def check_optimizer(found: Any, optimizer: Optimizer, place: str) -> None:
    """Check the state of an optimizer: its groups, and tensors of the shape of their parameter, or single numbers.

    Raises:
        DataError: It is not that of this optimizer.
    """
    own = optimizer.state_dict()
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    groups = found.get("param_groups") if isinstance(found, dict) else None
    states = found.get("state") if isinstance(found, dict) else None
    if not isinstance(groups, list) or len(groups) != len(own["param_groups"]) or not isinstance(states, dict):
        raise DataError(f"{place}: expected {len(own['param_groups'])} groups of parameters and their state")
    check_form(groups, own["param_groups"], f"{place}/param_groups", may_lack=True)
    for group, mine in zip(groups, own["param_groups"], strict=True):
        if group.get("params") != mine["params"]:
            raise DataError(f"{place}/param_groups: expected {len(mine['params'])} parameters, found others")
    for number, state in states.items():
        inner = f"{place}/state/{shorten(escape(str(number)), 100)}"
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(state, dict):
            raise DataError(f"{inner}: expected the state of one of {len(parameters)} parameters")
        for name, value in state.items():
            if not isinstance(name, str) or not _fits(value, parameters[number]):
                expected = f"a number, or a tensor {tuple(parameters[number].shape)}"
                raise DataError(
                    f"{inner}/{shorten(escape(str(name)), 100)}: expected {expected}, found {_describe(value)}"
                )


def _fits(value: Any, parameter: Tensor) -> bool:
    if isinstance(value, Tensor):
        return is_plain(value) and value.shape in ((), parameter.shape)
    return isinstance(value, _SCALARS)


def _is_alike(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Tensor) and isinstance(found, Tensor):
        return is_plain(found) and found.shape == wanted.shape
    if wanted is None or found is None:
        return isinstance(found if wanted is None else wanted, (*_SCALARS, Tensor))
    if isinstance(wanted, float) or (isinstance(wanted, int) and not isinstance(wanted, bool)):
        return isinstance(found, int | float) and not isinstance(found, bool)
    return isinstance(wanted, _SCALARS) and type(found) is type(wanted)


def _word(content: Mapping[Any, Any], key: Any) -> str:
    return _describe(content[key]) if key in content else "nothing"


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, Mapping | list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    return (
        shorten(escape(repr(value)), 60) if isinstance(value, _SCALARS) else f"a value of type {type(value).__name__}"
    )
