"""Pretraining from a set: steps with each kind of views, what views cost the device, and JPEG decoded there."""

import io
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lightly_views import take_transform
from numpy.typing import NDArray
from PIL import Image
from step_bench.timing import synchronize, time_ms
from torchvision.io import decode_jpeg

from gpu_checks.bench import Bench
from gpu_checks.check import Check, unable
from gpu_checks.runs import read_series
from sharding.reading.shard_set import ShardSet
from training.config import ViewsOn
from training.loading.images import ImageDataset
from training.monitoring.monitor import RATE_TAG, WAIT_TAG
from training.pretraining import pretrain
from training.views.batch import DrawCollation
from training.views.recipe import read_recipe
from training.views.render import ViewRenderer

LIMIT_S = 60
METHODS = ("simclr", "dino")


def train(bench: Bench) -> Iterator[Check]:
    """Train for an epoch by each method, with views made by the workers and on the device: images/s, and waiting."""
    for method in METHODS:
        for views in ("cpu", "gpu"):
            yield _train(bench, method, views)


def _train(bench: Bench, method: str, views: ViewsOn) -> Check:
    config = bench.pretrain(f"views-{method}-{views}", method=method, views=views)
    pretrain.run(config)
    found = (read_series(Path(config.out), tag) for tag in (RATE_TAG, WAIT_TAG))
    rates, waits = (series[1:] or series for series in found)  # the first window warms up; a tiny run has no other
    ok = bool(rates) and all(rate > 0 for rate in rates)
    figures = {"images_per_s": statistics.median(rates) if rates else None, "wait_shares": waits}
    return Check(name=f"{method}_{views}", ok=ok, why="" if ok else "no rate was logged", figures=figures)


def render(bench: Bench) -> Iterator[Check]:
    """Time how long the device takes to make the views of a batch, from page-locked memory."""
    opened = ShardSet(bench.train)
    for method in METHODS:
        recipe = read_recipe(take_transform(method, "conservative"))
        images = ImageDataset([opened])
        batch = DrawCollation(recipe)(images.read_encoded([(0, place) for place in range(bench.sizes.batch)]))
        if bench.on_gpu:
            batch = {name: part.pin_memory() if torch.is_tensor(part) else part for name, part in batch.items()}
        renderer = ViewRenderer(recipe)
        found = time_ms(lambda renderer=renderer, batch=batch: renderer(batch, bench.device), bench.device, 10)  # type: ignore[misc]
        figures = found | {"images_per_s": 1000 * bench.sizes.batch / found["ms"]}
        yield Check(name=f"render_{method}", ok=True, figures=figures)


def decode(bench: Bench) -> Iterator[Check]:
    """Decode whole JPEG files on the device, which a worker would only have to read."""
    if not bench.on_gpu:
        yield unable("decode_jpeg", "the decoder of JPEG files is CUDA's")
        return
    opened = ShardSet(bench.large)
    files = [_encode(opened[row].image) for row in range(8)]
    decode_jpeg(files, device=bench.device)  # warms up
    synchronize(bench.device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(5):
        decode_jpeg(files, device=bench.device)
    synchronize(bench.device)
    count = 5 * len(files)
    figures = {
        "images_per_s": count / (time.perf_counter() - wall),
        "images_per_cpu_s": count / (time.process_time() - cpu),
    }
    yield Check(name="decode_jpeg", ok=True, figures=figures)


def _encode(image: NDArray[np.uint8]) -> torch.Tensor:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


STAGES = (
    (tuple(f"{method}_{views}" for method in METHODS for views in ("cpu", "gpu")), train),
    (tuple(f"render_{method}" for method in METHODS), render),
    (("decode_jpeg",), decode),
)
