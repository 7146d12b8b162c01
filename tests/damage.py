"""Copies of sets with bytes that changed on their way: real damage in a shard, which its index does not know of."""

import os
import shutil

from sharding.reading.shard_set import ShardSet


def flip_byte(url, row, part="image"):
    """Change one byte in the middle of a part of a sample (a row of the index)."""
    with open(f"{url}/shards/{row['shard']}", "r+b") as shard:
        shard.seek(int(row[f"{part}_offset"]) + int(row[f"{part}_bytes"]) // 2)
        byte = shard.read(1)
        shard.seek(-1, os.SEEK_CUR)
        shard.write(bytes([byte[0] ^ 255]))


def damaged_copy(folder, original, rows, part="image"):
    """A copy of a set in which the samples of these rows of its index are damaged."""
    shutil.copytree(original.url, folder)
    for row in rows:
        flip_byte(folder, original.index.iloc[row], part)
    return ShardSet(folder)
