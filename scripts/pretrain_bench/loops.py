"""Bare loops over LightlyTrain's own functions: what no loader can beat without changing them."""

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from pretrain_bench.clocks import Epoch


def run_limit(files: Sequence[Path], transform: Callable[[dict[str, Any]], Any]) -> Epoch:
    """Decode each file as LightlyTrain does and apply its transform, in this process, without a batch."""

    def make(data: bytes) -> None:
        image = decode_image(torch.from_numpy(np.frombuffer(data, np.uint8).copy()), mode=ImageReadMode.RGB)
        transform({"image": image.permute(1, 2, 0).numpy()})

    return _time(files, make)


def run_floor(files: Sequence[Path]) -> Epoch:
    """Decode each file at an eighth of its size: little more than reading its Huffman codes."""

    def make(data: bytes) -> None:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (image.width // 8, image.height // 8))
            image.load()

    return _time(files, make)


def _time(files: Sequence[Path], make: Callable[[bytes], None]) -> Epoch:
    contents = [path.read_bytes() for path in files]
    wall, main = time.perf_counter(), time.process_time()
    for data in contents:
        make(data)
    spent = time.process_time() - main
    seconds, count = time.perf_counter() - wall, len(files)
    return Epoch(images=count, worker_s=spent, main_s=0.0, wall_s=seconds, consumed=count, batches=count)
