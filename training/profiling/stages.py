"""The stages of loading, each timed on what the one before it made, and the whole chain timed as it is used.

The stages call the functions that the reader and the data sets call, sample by sample as a loader worker does: so a
sample is in the processor's cache, and memory used again, where they are in a worker. What the times mean is found in
`training.profiling.bottleneck`, and reported by `training.profiling.profile`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from sharding.format.sample import Sample
from sharding.progress import track
from sharding.reading.reader import StoredParts
from training.loading.dataset import DiodeDepthDataset
from training.loading.decode import decode_as_lightly_train, decode_known, decode_rgb
from training.loading.images import ImageDataset
from training.loading.shared_batch import SharedBatch, Unmade, collate
from training.loading.view import ViewArrays, check_depth, fill_depth, fill_image
from training.loading.view_batch import ViewBatch, Written
from training.profiling.image_views import ImageViews, to_tensors
from training.profiling.stopwatch import Stopwatch, Timing, join
from training.profiling.work import Work

Held = Literal["stored", "payload", "decoded"]
"""Which bytes are counted: as stored in a shard, as the files of a sample (inflated), or as arrays."""

CHAIN = "chain"
STAGES: dict[str, Held] = {
    "fetch": "stored",
    "check": "stored",
    "inflate": "payload",
    "decode_image": "decoded",
    "decode_depth": "decoded",
    "warp_image": "decoded",
    "warp_depth": "decoded",
    "batch": "decoded",
    "to_tensors": "decoded",
    "collate": "decoded",
}
"""Stages in their order, and the bytes that each one is counted in: those of its result.

Views with depth are written into their batch by the warps; `batch` is what else is done for it: memory that is used
again, and the draws of the views. `to_tensors` and `collate` are stages of images alone.
"""

AnyDataset = DiodeDepthDataset | ImageViews


def open_dataset(work: Work) -> AnyDataset:
    """Return the data set whose batches the whole chain makes."""
    if work.paired:
        return DiodeDepthDataset(work.opened, augment=work.view, shuffle=True).making_batches()
    return ImageViews(ImageDataset([work.opened]), work.view)


def time_stages(work: Work, repeats: int) -> dict[str, Timing]:
    """Time each stage, then the whole chain (`CHAIN`, counted in stored bytes), in this process.

    Do so within `as_worker`. A batch goes through both for each repeat before the next batch does, so that other load
    of the machine affects all alike.
    """
    laps = [Stopwatch() for _ in range(repeats)]
    rows, dataset, batches = work.rows().tolist(), open_dataset(work), work.batches()
    for places in track(batches, total=len(batches), unit="batches", label="stages"):
        for watch in (Stopwatch(), *laps):  # the first one warms up
            free(make_in_stages(work, [rows[place] for place in places], watch))
            free(watch(CHAIN, partial(make_at_once, dataset, places), len(places)))
    timings = join(laps)
    return timings | {CHAIN: replace(timings[CHAIN], bytes=work.stored_bytes)}


def make_at_once(dataset: AnyDataset, places: Sequence[int]) -> dict[str, Any]:
    """Make the batch of some places of epoch 0, as a loader does."""
    made = dataset.__getitems__([(0, place) for place in places])
    return made.fill() if isinstance(made, ViewBatch) else collate(made)


def free(batch: dict[str, Any]) -> None:
    """Let the memory of a batch be used again, if it was made within `as_worker`."""
    if isinstance(batch, SharedBatch):
        batch.free()


def make_in_stages(work: Work, rows: Sequence[int], watch: Stopwatch) -> dict[str, Any]:
    """Make the batch of some rows, each stage timed by the watch: bit for bit the batch of `make_at_once`.

    Raises:
        DataError: A sample is damaged; the message names shard, key and part.
    """
    read = _fetch(work, rows, watch)
    if work.paired:
        writers = (partial(_write_view, work, watch, *one) for one in read)
        return watch("batch", ViewBatch(len(rows), work.view.size, writers).fill, len(rows))
    items = Unmade(len(rows), (_make_item(work, watch, *one) for one in read))
    return watch("collate", lambda: collate(items), len(rows))


def _fetch(work: Work, rows: Sequence[int], watch: Stopwatch) -> Iterator[tuple[int, StoredParts]]:
    for part in work.read_together(rows):
        stored = watch("fetch", partial(work.opened.reader.read_stored, part, work.parts), len(part))
        yield from zip(part, stored, strict=True)


def _unpack(work: Work, watch: Stopwatch, row: int, stored: StoredParts) -> StoredParts:
    reader = work.opened.reader
    watch("check", partial(reader.check, row, stored))
    return watch("inflate", partial(reader.unpack, row, stored))


def _write_view(work: Work, watch: Stopwatch, row: int, stored: StoredParts, into: ViewArrays) -> Written:
    """Write the view of a sample, in the steps of `DiodeDepthDataset`."""
    reader, files = work.opened.reader, _unpack(work, watch, row, stored)
    image = watch("decode_image", lambda: decode_rgb(files["image"]))
    encoded = files["depth"], reader.ext(row, "depth"), files.get("valid")
    depth, valid = watch("decode_depth", partial(decode_known, *encoded))
    sample = Sample(key=reader.key(row), image=image, depth=depth, valid=valid)
    warp, colour = work.view.draw(image.shape[:2], _random(work, row))
    known = check_depth(sample)
    watch("warp_image", partial(fill_image, image, warp, into), made=into.image)
    watch("warp_depth", partial(fill_depth, known, warp, into), made=[into.depth, into.valid])
    return Written(key=sample.key, weight=1.0, colour=colour)


def _make_item(work: Work, watch: Stopwatch, row: int, stored: StoredParts) -> dict[str, Any]:
    """Make the item of an image alone, in the steps of `ImageViews`."""
    files = _unpack(work, watch, row, stored)
    image = watch("decode_image", lambda: decode_as_lightly_train(files["image"]))
    sample = Sample(key=work.opened.reader.key(row), image=image)
    view = watch("warp_image", lambda: work.view(sample, _random(work, row)))
    return watch("to_tensors", lambda: to_tensors(view))


def _random(work: Work, row: int) -> np.random.Generator:
    # (seed, epoch, sample id, replica), as in `training.loading.dataset`, so that the warps are the same.
    return np.random.default_rng((0, 0, int(work.opened.ids[row]), 0))
