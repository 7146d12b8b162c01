"""Count whether reads from a store that fails now and then are whole: none lost, none doubled, none with other bytes.

    python scripts/count_reads.py [--reads N] [--fault-rate X] [--threads N] [--json]

A real S3 server (localbucket) holds a set of small pictures; a link in front of it (`unreliable_link.py`) fails a share
of the requests, in all the ways that it knows but stalls, which take a minute each. Threads read batches of shuffled
epochs, as loaders do, and compare each sample's bytes with those of the local folder.
"""

import hashlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from machine import describe_machine
from PIL import Image
from store_bench.server import free_port, link, s3_server, use_endpoint

from sharding.cli import Command, Outcome
from sharding.cli import main as run_program
from sharding.config import ShardMegadepthConfig
from sharding.errors import DataError
from sharding.making.create import shard_megadepth
from sharding.options import option
from sharding.progress import track

if TYPE_CHECKING:
    from sharding.reading.shard_set import ShardSet

FAULTS = "500,503,429,refuse,reset,truncate,shorten,corrupt"


@dataclass(frozen=True, kw_only=True)
class CountReadsConfig:
    """Options of the count."""

    reads: int = option(1_000_000, "reads of one sample each; rounded up to whole epochs", metavar="N", least=1)
    samples: int = option(5000, "samples of the set", metavar="N", least=1)
    fault_rate: float = option(0.05, "share of the requests that fail", metavar="X", least=0)
    batch_size: int = option(32, "samples of a batch", metavar="N", least=1)
    threads: int = option(16, "threads that read", metavar="N", least=1)
    seed: int = option(0, "of order and faults", least=0)


def run(config: CountReadsConfig) -> Outcome:
    """Read, and count.

    Raises:
        DataError: The set or the servers could not be made.
    """
    begin, server_port = time.monotonic(), free_port()
    use_endpoint(server_port)
    with tempfile.TemporaryDirectory(prefix="count-reads-") as temporary:
        root = Path(temporary)
        make_set(root, root / "bucket" / "set", config.samples)
        faults = ("--fault-rate", str(config.fault_rate), "--faults", FAULTS, "--seed", str(config.seed))
        with (
            s3_server(root) as server,
            link(server, server_port, *faults, "--retry-after", "0", "--only", "/shards/") as proxy,
        ):
            found = count(config, str(root / "bucket" / "set"), "s3://bucket/set")
            found["link"] = proxy.counts()
    found |= {"seconds": round(time.monotonic() - begin), **describe_machine(("obstore", "localbucket", "numpy"))}
    ok = not (found["lost"] or found["doubled"] or found["other_bytes"] or found["failed"])
    text = ", ".join(f"{name} {found[name]}" for name in ("reads", "lost", "doubled", "other_bytes", "failed", "link"))
    return Outcome(data=found, text=text, ok=ok)


def make_set(root: Path, target: Path, samples: int) -> None:
    """Make a set of pictures of 24 x 32 pixels, all different, in shards of some 500."""
    folder = root / "source" / "MegaDepth_v1" / "0000" / "dense0" / "imgs"
    folder.mkdir(parents=True)
    for number in track(range(samples), total=samples, unit="pictures", label="pictures"):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06d}_o.jpg", quality=90)
    shard_megadepth(ShardMegadepthConfig(source=str(root / "source"), set=str(target), shard_size=800_000, workers=1))


def count(config: CountReadsConfig, local: str, remote: str) -> dict[str, Any]:
    """Read epochs of the remote set, and compare each sample with the local one."""
    from sharding.reading.shard_set import ShardSet

    whole, there = ShardSet(local), ShardSet(remote)
    expected = [_digest(one["image"]) for one in whole.reader.read_encoded(range(len(whole)), ("image",))]
    there.reader.open()
    epochs = -(-config.reads // len(whole))
    seen: Counter[int] = Counter()
    other = failed = 0
    with ThreadPoolExecutor(config.threads) as pool:
        batches = list(_batches(config, len(whole), epochs))
        work = pool.map(lambda rows: _read(there, rows), batches)
        for rows, digests in track(zip(batches, work, strict=True), total=len(batches), unit="batches", label="reads"):
            failed += len(rows) if digests is None else 0
            for row, digest in zip(rows, digests or (), strict=digests is not None):
                seen[row] += 1
                other += digest != expected[row]
    times = [seen[row] for row in range(len(whole))]
    return {
        "reads": sum(times),
        "epochs": epochs,
        "lost": sum(max(0, epochs - one) for one in times),
        "doubled": sum(max(0, one - epochs) for one in times),
        "other_bytes": other,
        "failed": failed,
    }


def _batches(config: CountReadsConfig, samples: int, epochs: int) -> Iterator[list[int]]:
    for epoch in range(epochs):
        order = np.random.default_rng((config.seed, epoch)).permutation(samples).tolist()
        for first in range(0, samples, config.batch_size):
            yield order[first : first + config.batch_size]


def _read(there: "ShardSet", rows: Sequence[int]) -> list[bytes] | None:
    """Return the digest of each sample's image; None if the batch could not be read."""
    try:
        return [_digest(one["image"]) for one in there.reader.read_encoded(rows, ("image",))]
    except DataError as error:
        print(error, file=sys.stderr)
        return None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


COMMAND = Command(
    name="scripts/count_reads.py",
    config=CountReadsConfig,
    runner=f"{__name__}:run",
    help="count whether reads from a store that fails now and then are whole",
    examples=("scripts/count_reads.py --json > reads.json", "scripts/count_reads.py --reads 20000 --fault-rate 0.2"),
)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    return run_program("python", __doc__, [COMMAND], [COMMAND.name, *argv])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
