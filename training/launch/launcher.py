"""What started the processes of a run, by the environment alone: torch is not imported, so wrong is told at once."""

import os
import re
import sys
from dataclasses import dataclass

from sharding.errors import UsageError

RANK_ZERO = "DEPTHSTREAM_RANK_ZERO"
"""Variable with the process id of rank 0, for the ranks that Lightning starts."""

_RANKS, _SIZES = ("RANK", "LOCAL_RANK", "SLURM_PROCID"), ("WORLD_SIZE", "LOCAL_WORLD_SIZE")
_SLURM_SHELLS = ("bash", "interactive")  # job names by which Lightning, too, recognises an interactive shell
_SRUN = ("SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS")  # set by srun, not by sbatch
# What makes a GPU visible: NVIDIA's driver, the same in Windows' Linux and on a Jetson, AMD's driver.
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/kfd")


@dataclass(frozen=True, kw_only=True)
class Started:
    """Processes that a launcher has started.

    Attributes:
        launcher: "torchrun" or "SLURM".
        here: Processes on this node.
        num_nodes: Number of nodes.
        certain: Whether the launcher surely started them; SLURM's variables are also in the shell of a job, which
            `srun` did not start.
    """

    launcher: str
    here: int
    num_nodes: int
    certain: bool = True

    @property
    def world(self) -> int:
        """Number of processes over all nodes."""
        return self.here * self.num_nodes


def find_started() -> Started | None:
    """Find what started several processes; None if nothing did.

    Raises:
        UsageError: The variables of the launcher contradict each other, or are incomplete.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:  # by which torch itself recognises torchrun
        world, here = _number("WORLD_SIZE"), _number("LOCAL_WORLD_SIZE")
        # Agents of torchrun, one a node.
        num_nodes = _number("GROUP_WORLD_SIZE") if os.environ.get("GROUP_WORLD_SIZE") else world // max(1, here)
        return _check_even(world, Started(launcher="torchrun", here=here, num_nodes=num_nodes))
    # In a job or a step of one task, or in an interactive shell of SLURM, Lightning starts the processes.
    tasks, in_step = _number("SLURM_STEP_NUM_TASKS", 0), _is_step()
    if not in_step or not tasks:
        tasks = _number("SLURM_NTASKS", 1)
    if tasks > 1 and (in_step or os.environ.get("SLURM_JOB_NAME") not in _SLURM_SHELLS):
        return _find_slurm_tasks(tasks, in_step)
    return None


def _is_step() -> bool:
    """Tell whether `srun` started this process."""
    return any(name in os.environ for name in _SRUN)


def check_launch(accelerator: str, devices: str) -> int | None:
    """Check devices and processes of a command that trains, and clean up variables that mean nothing.

    Args:
        accelerator: "auto", "cpu" or "gpu".
        devices: Option `--devices`.

    Returns:
        The number of processes, if it can be told without asking for the GPUs.

    Raises:
        UsageError: The environment has the rank of a world that nothing started, or there are no such devices.
    """
    check_accelerator(accelerator)
    if accelerator == "cpu" and "," in devices:
        raise UsageError(f"--devices {devices}: with --accelerator cpu expected a number of processes, found ids")
    asked = _count(accelerator, devices)
    started = find_started()
    if started is None:
        if RANK_ZERO not in os.environ:
            _check_leftovers()
        return asked
    if asked not in (None, started.here) and devices != "auto":
        raise UsageError(explain_mismatch(devices, asked, started))
    return started.world


def explain_mismatch(devices: str, asked: int | None, started: Started) -> str:
    """Say that a launcher has started another number of processes than `--devices` asks for."""
    return (
        f"--devices {devices} means {asked} on this node, but {started.launcher} started {started.here} processes on "
        f"it; leave --devices out, or let {started.launcher} start {asked}"
    )


def check_accelerator(accelerator: str) -> None:
    """Check that there is a GPU if one is asked for, as far as the driver's files tell.

    Raises:
        UsageError: There is none.
    """
    if accelerator == "gpu" and sys.platform != "darwin":
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        if hidden or not any(map(os.path.exists, _GPU_FILES)):
            reason = "CUDA_VISIBLE_DEVICES hides all" if hidden else "this machine has none"
            raise UsageError(f"--accelerator gpu is not available: {reason}; give --accelerator cpu or auto")


def check_precision(precision: str, kind: str) -> None:
    """Check that a device computes in a number format; Lightning would take another one, and only warn.

    Args:
        precision: Such as "16-mixed".
        kind: "cpu", or anything else.

    Raises:
        UsageError: It does not.
    """
    if kind == "cpu" and precision in ("16-mixed", "16"):
        raise UsageError(f"--precision {precision}: a CPU computes in 32-true or bf16-mixed; give one of these")


def _count(accelerator: str, devices: str) -> int | None:
    """Count the devices that an option asks for on this node; None if that depends on the machine."""
    if "," in devices:
        return len([word for word in devices.split(",") if word])
    if devices == "auto":
        return 1 if accelerator == "cpu" else None
    return int(devices) if int(devices) > 0 else None


def _check_leftovers() -> None:
    """Check that no rank is left over, from a container or a shell, of processes that nothing started.

    Variables of a world of one mean nothing; they are removed, since Lightning would start no process beside them.

    Raises:
        UsageError: There is one that says other processes exist.
    """
    names = (*_RANKS, *_SIZES)
    values = {name: _number(name) for name in names if name in os.environ}
    if wrong := {name: value for name, value in values.items() if value > (0 if name in _RANKS else 1)}:
        shown = ", ".join(f"{name}={value}" for name, value in wrong.items())
        raise UsageError(
            f"{shown} is set, but no launcher that is known (torchrun, srun) started this process: unset "
            f"{' '.join(wrong)}, or start all ranks with one of these (docs/multi-gpu.md)"
        )
    for name in values:
        if not name.startswith("SLURM_"):
            del os.environ[name]


def _find_slurm_tasks(world: int, in_step: bool) -> Started:
    nodes = ("SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES")
    num_nodes = next((_number(name) for name in nodes if os.environ.get(name)), 1)
    here = _tasks_per_node()
    if here is None:
        raise UsageError(
            f"SLURM started {world} tasks on {num_nodes} nodes and does not report how many on each; "
            f"give sbatch --ntasks-per-node={max(1, world // num_nodes)} in place of --ntasks"
        )
    certain = in_step or _number("SLURM_PROCID", 0) > 0
    return _check_even(world, Started(launcher="SLURM", here=here, num_nodes=num_nodes, certain=certain))


def _tasks_per_node() -> int | None:
    """Return the tasks of each node, None if they are not known: "4(x2)" is four on each of two nodes."""
    for name in ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE"):
        if found := re.fullmatch(r"([0-9]+)(\(x[0-9]+\))?", os.environ.get(name, "")):
            return int(found[1])
    return None


def _check_even(world: int, started: Started) -> Started:
    if started.world != world or world < 1:
        raise UsageError(
            f"{started.launcher} started {world} processes on {started.num_nodes} nodes, {started.here} of them on "
            "this one; every node must have the same number"
        )
    return started


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name) or ("" if default is None else str(default))
    if not text.isdecimal():
        found = f"found {text!r}" if text else "found nothing"
        raise UsageError(f"environment variable {name}: expected a number, as its launcher sets it, {found}; unset it")
    return int(text)
