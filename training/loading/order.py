"""The order of an epoch as arithmetic: a pure function of sizes, seed and epoch, in numpy alone.

Nothing else decides order: no rank, no worker, no timing, no history. All randomness is raw 64-bit words of PCG64
under SeedSequence, the two parts of numpy.random whose output is promised never to change between numpy versions
(`Generator.permutation` may change), so that a run goes on in the same order after an upgrade.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from sharding.errors import UsageError

Sizes = Sequence[int] | NDArray[np.int64]

# Independent random streams of one (seed, epoch), by what they decide.
_SHUFFLE, _PHASE, _SET = 0, 1, 2

_CHUNK = 1 << 16  # numbers held beside a permutation while it is made: stays in the cache


def epoch_order(shard_sizes: Sizes, seed: int, epoch: int, run: int = 1) -> NDArray[np.int64]:
    """The samples of a set in the order in which one epoch visits them, each exactly once.

    Each shard is cut into runs of `run` consecutive samples, at a phase drawn per shard and epoch (so its first and
    last run may be shorter), and the runs are permuted uniformly. `run=1` is a uniform shuffle of all samples and
    depends on their number alone; larger runs trade mixing for longer contiguous reads. With three shards, run=4:

        shard        0 1 2 3 4 5 6 7 8 9 | 10 11 12 | 13 14 15 16 17
        cut          0 1|2 3 4 5|6 7 8 9 | 10 11 12 | 13|14 15 16 17
        order        13  10 11 12  2 3 4 5  0 1  14 15 16 17  6 7 8 9         (seed 0, epoch 0)

    10^7 samples take 0.3 to 0.5 s on one core, numpy's own shuffle 0.5 to 0.9 s
    (`python -m timeit -s "from training.loading.order import epoch_order" "epoch_order([10**7], 0, 0)"`).
    Memory at the peak: 8 bytes a sample, the result itself, for run=1; 16 + 48 / run otherwise.

    Args:
        shard_sizes: (S,) samples per shard, each >= 0, in shard order; N is their sum.
        seed: The run's seed, >= 0.
        epoch: Counts from 0.
        run: Samples read in one piece, >= 1.

    Returns:
        int64 (N,): a permutation of range(N), numbering the samples through all shards in order.

    Raises:
        UsageError: The seed or the run is out of range.
        ValueError: The sizes or the epoch are.
    """
    sizes = _checked_sizes(shard_sizes, "shard_sizes")
    _check_seed(seed, epoch)
    if run < 1:
        raise UsageError(f"a run must be at least 1 sample long, was {run}")
    if run == 1:
        return _permutation(int(sizes.sum()), seed, epoch, _SHUFFLE)
    starts = _run_starts(sizes, seed, epoch, run)  # (R,)
    lengths = np.diff(starts, append=sizes.sum())  # (R,)
    shuffle = _permutation(len(starts), seed, epoch, _SHUFFLE)  # (R,)
    return _join_runs(starts[shuffle], lengths[shuffle])


def weighted_order(
    set_sizes: Sizes, weights: Sequence[float] | None, seed: int, epoch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One epoch of draws from several sets, mixed uniformly, in the proportions of `weights`.

    An epoch has N = sum(set_sizes) draws, whatever the weights. Set i gets N * weights[i] / sum(weights) of them,
    rounded by largest remainder so that they sum to N, and cycles through its own permutation of this epoch: a set
    drawn less than its size gives the first samples of it (others in each epoch), one drawn more gives every sample
    floor or ceil of (draws / size) times. Without weights each sample is drawn once and the ids are
    `epoch_order(set_sizes, seed, epoch)`. Memory: 42 bytes a draw at the peak, 16 in the result.

    Args:
        set_sizes: (S,) samples per set, each >= 0.
        weights: (S,) relative numbers of draws, each finite and > 0; None for each sample once.
        seed: The run's seed, >= 0.
        epoch: Counts from 0.

    Returns:
        ids: int64 (N,), in [0, N): indices into the concatenation of the sets.
        replicas: int64 (N,), >= 0: how often the sample was drawn before in this epoch's permutation of its set.
            (id, replica) is unique within an epoch, so that a sample drawn twice is augmented twice differently.

    Raises:
        UsageError: A weight cannot be used, or the seed is negative.
        ValueError: The sizes or the epoch are out of range.
    """
    sizes = _checked_sizes(set_sizes, "set_sizes")
    _check_seed(seed, epoch)
    order = _permutation(int(sizes.sum()), seed, epoch, _SHUFFLE)
    if weights is None:
        return order, np.zeros_like(order)
    offsets = np.cumsum(sizes) - sizes
    ids, replicas = np.empty_like(order), np.empty_like(order)
    end = 0
    for index, draws in enumerate(_draw_counts(sizes.tolist(), weights)):
        begin, end = end, end + draws
        cycle = _permutation(int(sizes[index]), seed, epoch, _SET, index)
        ids[begin:end] = offsets[index] + np.resize(cycle, draws)
        replicas[begin:end] = np.arange(draws) // len(cycle)
    return ids[order], replicas[order]


def _checked_sizes(sizes: Sizes, name: str) -> NDArray[np.int64]:
    array = np.asarray(sizes)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be a list of integers, was {array.dtype} of shape {array.shape}")
    if (array < 0).any():
        raise ValueError(f"{name} must be >= 0, was {array.min()} at index {array.argmin()}")
    return array.astype(np.int64)


def _check_seed(seed: int, epoch: int) -> None:
    if seed < 0:
        raise UsageError(f"the seed must be >= 0, was {seed}")
    if epoch < 0:
        raise ValueError(f"the epoch counts from 0, was {epoch}")


def _words(count: int, seed: int, *stream: int) -> NDArray[np.uint64]:
    """`count` uniform 64-bit words; a stream of its own for each (seed, stream).

    The stream goes into `spawn_key`: entropy tuples are padded with zeros, so that (seed, epoch) and
    (seed, epoch, 0) would be one stream.
    """
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=stream)).random_raw(count)


def _permutation(count: int, seed: int, *stream: int) -> NDArray[np.int64]:
    """A uniform permutation of range(count): the numbers sorted by a random key each.

    Key and number share a 64-bit word, which sorts twice as fast as numpy shuffles. Two of 10^7 keys are equal with
    probability 2^-40 and then keep their order: no statistic sees that.
    """
    bits = np.uint64((count - 1).bit_length())
    keyed = _words(count, seed, *stream)
    keyed <<= bits
    for begin in range(0, count, _CHUNK):
        part = keyed[begin : begin + _CHUNK]
        part |= np.arange(begin, begin + len(part), dtype=np.uint64)
    keyed.sort()
    keyed &= (np.uint64(1) << bits) - np.uint64(1)
    return keyed.view(np.int64)


def _run_starts(sizes: NDArray[np.int64], seed: int, epoch: int, run: int) -> NDArray[np.int64]:
    """(R,) the first sample of every run, ascending: run j of a shard begins at max(0, phase + (j - 1) * run)."""
    phase = 1 + (_words(len(sizes), seed, epoch, _PHASE) % np.uint64(run)).astype(np.int64)  # (S,) in [1, run]
    counts = np.where(sizes > 0, -(-(sizes + run - phase) // run), 0)  # (S,) runs per shard
    shard = np.repeat(np.arange(len(sizes)), counts)  # (R,)
    index = np.arange(len(shard)) - np.repeat(np.cumsum(counts) - counts, counts)  # (R,) j, within the shard
    starts: NDArray[np.int64] = (np.cumsum(sizes) - sizes)[shard] + np.maximum(0, phase[shard] + (index - 1) * run)
    return starts


def _join_runs(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """(sum(lengths),) the samples starts[0], starts[0] + 1, ... of each run, one run after the other."""
    begins = np.cumsum(lengths) - lengths  # (R,) where each run begins in the result
    joined = np.repeat(starts - begins, lengths)
    joined += np.arange(len(joined))
    return joined


def _draw_counts(sizes: list[int], weights: Sequence[float]) -> list[int]:
    """Splits sum(sizes) draws over the sets by weight, by largest remainder (the earlier set wins a tie)."""
    _check_weights(sizes, weights)
    exact = [Fraction(weight) for weight in weights]
    shares = [sum(sizes) * weight / sum(exact) for weight in exact]
    counts = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: counts[index] - shares[index])
    for index in by_remainder[: sum(sizes) - sum(counts)]:
        counts[index] += 1
    return counts


def _check_weights(sizes: list[int], weights: Sequence[float]) -> None:
    if len(weights) != len(sizes):
        raise UsageError(f"expected one weight for each of {len(sizes)} sets, found {len(weights)}: {list(weights)}")
    for index, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        if not (isfinite(weight) and weight > 0):
            raise UsageError(f"weight {index} must be a number above 0, was {weight}; leave the set out to not draw it")
        if size == 0:
            raise UsageError(f"set {index} has no samples to give weight {weight} to; leave it out")
