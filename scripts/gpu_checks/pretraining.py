"""Pretraining on the device: each method, stopped in the middle and resumed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torchvision

from gpu_checks.bench import Bench
from gpu_checks.check import Check
from sharding.errors import Interrupted
from training.config import PretrainConfig
from training.pretraining import pretrain
from training.runfolder import CHECKPOINTS_NAME, ENCODER_NAME, load_config

LIMIT_S = 45


def simclr(bench: Bench) -> Iterator[Check]:
    """Train SimCLR, stop it, and resume it."""
    yield _train(bench, "simclr")


def dino(bench: Bench) -> Iterator[Check]:
    """Train DINO, stop it, and resume it."""
    yield _train(bench, "dino")


def _train(bench: Bench, method: str) -> Check:
    """Train a method, stop it by SIGTERM after its first checkpoint, and resume it."""
    config = bench.pretrain(f"pretrain-{method}", method=method, checkpoint_every="1steps")
    stopped = _stop(config)
    pretrain.run(replace(config, resume=True, checkpoint_every="epoch"))
    return _look(method, Path(config.out), config.model, stopped)


def _stop(config: PretrainConfig) -> bool:
    """Start the run; return whether it was stopped before its end."""
    over = threading.Event()
    thread = threading.Thread(target=_signal_self, args=(Path(config.out) / CHECKPOINTS_NAME / "last.ckpt", over))
    thread.start()
    try:
        pretrain.run(config)
    except Interrupted:
        return True
    finally:
        over.set()
        thread.join()
    return False


def _signal_self(checkpoint: Path, over: threading.Event) -> None:
    while not over.is_set():
        if checkpoint.exists():
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(0.02)


def _look(method: str, folder: Path, model: str, stopped: bool) -> Check:
    """Load the encoder strictly into torchvision's model, and check that all of it is finite."""
    state = torch.load(folder / ENCODER_NAME, weights_only=True)
    torchvision.models.get_model(model.removeprefix("torchvision/"), weights=None).load_state_dict(state, strict=True)
    finite = all(bool(torch.isfinite(value).all()) for value in state.values())
    why = (
        "" if stopped and finite else "expected to be stopped in the middle" if finite else "the encoder is not finite"
    )
    figures = {"stopped": stopped, "tensors": len(state), "precision": load_config(folder).get("precision")}
    return Check(name=method, ok=stopped and finite, why=why, figures=figures)


STAGES = ((("simclr",), simclr), (("dino",), dino))
