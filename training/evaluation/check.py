"""What is wrong with the options of `evaluate`, `predict` and `export`, found without torch."""

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sharding.codecs.log16 import is_log16
from sharding.errors import UsageError, named_by_user
from sharding.machine.files import check_kind, check_writable
from sharding.machine.regular import open_regular
from sharding.reading.check import check_set
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.config import EvaluateConfig, ExportConfig, PredictConfig
from training.evaluation.inputs import ARRAY, CODED, VIEW, Input, find_inputs
from training.evaluation.native_size import native_need
from training.evaluation.protocol_choice import choose_protocols
from training.launch.launcher import check_accelerator
from training.loading.shared_need import check_shared_memory
from training.runfolder import find_checkpoint, load_config
from training.set_options import cache_settings

ONNX_START = b"\x08"
"""How an ONNX file begins: the tag of its first field, `ir_version`."""


def check_evaluate(config: EvaluateConfig) -> None:
    """Check run, set and device of `evaluate`; makes no file.

    Raises:
        UsageError: One of them is missing, the set cannot be judged by the protocol, or loader processes would have too
            little shared memory.
        DataError: The set is damaged, or cannot be reached.
    """
    check_accelerator(config.accelerator)
    with named_by_user():
        load_config(config.run)
        find_checkpoint(config.run, config.checkpoint)
    check_set(config.set, config.where, cache_settings(config))
    if not is_remote(config.set):  # of a remote set, once it is opened
        samples = ShardSet(config.set, config.where)
        choose_protocols(samples, config.protocol)
        check_shared_memory([native_need(samples, config.num_workers, pinned=config.accelerator != "cpu")])


def check_predict(config: PredictConfig) -> None:
    """Check checkpoint, images and device of `predict`; makes no file.

    Raises:
        UsageError: One of them is missing, or the folder for the results cannot be one.
    """
    check_accelerator(config.accelerator)
    check_writable(config.out, "--out", folder=True)
    with named_by_user():
        find_checkpoint(config.run, config.checkpoint)
    check_results(find_inputs(config.images, config.out), config.out)


def check_results(inputs: Sequence[Input], out: str) -> None:
    """Check that results replace neither an image, nor files that `predict` did not write.

    Raises:
        UsageError: They would.
    """
    given = {os.path.realpath(one.file): one.file for one in inputs}
    for one in inputs:
        files = [Path(out, one.name + ending) for ending in (CODED, ARRAY, VIEW)]
        for file in files:
            if replaced := given.get(os.path.realpath(file)):
                raise UsageError(f"--out {out}: a result of {one.name} would replace {replaced}; give another folder")
        if there := [file for file in files if os.path.lexists(file)]:
            _check_ours(files[0], there[0])


def _check_ours(coded: Path, there: Path) -> None:
    """Check that results which are replaced are of `predict`, as the one that it writes first tells.

    Raises:
        UsageError: They are not.
    """
    head = b""
    with suppress(OSError), open_regular(coded) as file:
        head = os.read(file, 512)
    if not is_log16(head):
        raise UsageError(
            f"{there}: a result would replace it, and nothing tells that `predict` wrote it, as {coded.name} of an "
            "earlier run would; remove it, or give another folder"
        )


def check_export(config: ExportConfig) -> None:
    """Check checkpoint, file and libraries of `export`; makes no file.

    Raises:
        UsageError: One of them is missing, or another file would be replaced.
    """
    with named_by_user():
        find_checkpoint(config.run, config.checkpoint)
    if Path(config.onnx).suffix != ".onnx":
        raise UsageError(f"--onnx {config.onnx}: expected a file name that ends in .onnx")
    check_writable(config.onnx, "--onnx", folder=False)
    check_kind(config.onnx, "--onnx", "an ONNX file", ONNX_START)
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        raise UsageError(
            f"needs {' and '.join(missing)}: in a clone of the repository run pip install '.[export]', elsewhere "
            "pip install 'depthstream[export]'"
        )
