"""Which positions of an epoch this process takes, step by step.

Samplers know the number of samples, the batch size and the world; they yield (epoch, position) and never see a
sample. The dataset turns positions into rows with `training.loading.order`, in whatever worker it runs.

Both are DistributedSamplers so that Lightning keeps them unchanged (it replaces any other sampler when it runs
several processes) and calls `set_epoch`. They skip that class's constructor, which needs the rank at once, because
Lightning asks for loaders before it starts the process group. They have no `seed` and no `dataset`.
"""

from collections.abc import Callable, Iterator

from torch.utils.data import DistributedSampler

from sharding.errors import UsageError
from training.launch.world import World
from training.loading.order import check_batch
from training.loading.upcoming import Upcoming


class _PositionSampler(DistributedSampler[tuple[int, int]]):
    """Base of both samplers: sizes, epoch, and rank and world size read when they are needed."""

    def __init__(self, num_samples: int, batch_size: int) -> None:
        # DistributedSampler.__init__ is not called: it needs the rank, which is not known yet.
        if batch_size < 1:
            raise UsageError(f"the batch size must be at least 1, was {batch_size}")
        if num_samples < 1:
            raise UsageError(f"expected at least 1 sample, found {num_samples}: is the set or its subset empty?")
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.epoch = 0  # written by `set_epoch`

    @property
    def rank(self) -> int:  # type: ignore[override]  # an attribute there, read at construction
        """Return the rank of this process, as of now."""
        return World.current().rank

    @property
    def num_replicas(self) -> int:  # type: ignore[override]
        """Return the number of processes, as of now."""
        return World.current().size


class TrainSampler(_PositionSampler):
    """This rank's part of each global batch of an epoch; the same batches for every world size.

    Global step s takes the positions [s * G, (s + 1) * G) of the epoch's order, and rank r of W takes the r-th block of
    G / W consecutive ones. All ranks have the same number of steps; the tail of less than G positions is dropped
    (other samples in each epoch). With N=11, G=4:

        world 1, rank 0     0 1 2 3 | 4 5 6 7        8 9 10 dropped
        world 2, rank 0     0 1     | 4 5
                 rank 1         2 3 |     6 7

    Give the DataLoader this rank's G / W as batch size, or a divisor of it as micro-batch: either cuts evenly.

    `len()` is this rank's samples in a whole epoch, also in an epoch resumed midway: Lightning sizes schedules by
    it and counts the batches from before the checkpoint as fetched.

    Args:
        num_samples: N, samples of the set (or subset).
        batch_size: G, the global batch: samples per optimizer step over all ranks and accumulated micro-batches.
        prepare: Called with the epoch before the first position of an iteration is yielded, such as the dataset's
            `prepare`. A loader asks for that position once its workers are done with the previous epoch.

    Raises:
        UsageError: There is less than one global batch. Iterating and `len()` raise it too if the global batch cannot
            be split evenly over the ranks.
    """

    shuffle = True
    drop_last = True

    def __init__(self, num_samples: int, batch_size: int, prepare: Callable[[int], None] | None = None) -> None:
        super().__init__(num_samples, batch_size)
        check_batch(batch_size, num_samples)
        self._prepare = prepare
        self._resumed_epoch, self._resumed_at = 0, 0

    @property
    def num_steps(self) -> int:
        """Return the global steps in an epoch, the same on every rank."""
        return self.num_samples // self.batch_size

    def resume(self, epoch: int, samples_consumed: int) -> None:
        """Make `epoch` start after its first `samples_consumed` positions; all other epochs start at 0.

        Call it before `Trainer.fit`: Lightning creates the resumed epoch's iterator before it calls `set_epoch`, so
        this also sets the epoch. It holds until the next `resume`. If all of the epoch is consumed, it yields nothing:
        its end-of-epoch work is still to be done, and the next epoch is a whole one.

        Args:
            epoch: The epoch of the checkpoint, from 0.
            samples_consumed: Samples trained on in that epoch, over all ranks: a multiple of the global batch.

        Raises:
            UsageError: The count is not a number of whole steps of this epoch.
        """
        whole = self.num_steps * self.batch_size
        if epoch < 0 or not 0 <= samples_consumed <= whole or samples_consumed % self.batch_size:
            raise UsageError(
                f"cannot resume epoch {epoch} after {samples_consumed} samples: expected a multiple of the global "
                f"batch of {self.batch_size}, at most {whole}; resume with the set and batch size of the checkpoint"
            )
        self._resumed_epoch, self._resumed_at = epoch, samples_consumed
        self.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        world = World.current()
        share = self._share(world)
        begin = self._resumed_at if self.epoch == self._resumed_epoch else 0
        # This rank's first position in each remaining global step.
        firsts = range(begin + world.rank * share, self.num_steps * self.batch_size, self.batch_size)
        # The epoch is passed on now: a later `set_epoch` does not change the positions of this iteration.
        return self._positions(self.epoch, firsts, share)

    def _positions(self, epoch: int, firsts: range, share: int) -> Iterator[tuple[int, int]]:
        # A generator: this runs at the first `next`, when persistent workers have finished the previous epoch.
        if self._prepare is not None and firsts:  # none in an epoch that is resumed at its end
            self._prepare(epoch)
        for first in firsts:
            yield from ((epoch, position) for position in range(first, first + share))

    def __len__(self) -> int:
        return self.num_steps * self._share(World.current())

    def upcoming(self, batch_size: int) -> Upcoming:
        """Describe this rank's positions in an epoch, for a loader whose batches have this size."""
        world = World.current()
        return Upcoming(
            step=self.batch_size,
            share=self._share(world),
            rank=world.rank,
            whole_steps=self.num_steps,
            batch_size=batch_size,
        )

    def _share(self, world: World) -> int:
        """Return the samples of one rank in a global batch."""
        share, rest = divmod(self.batch_size, world.size)
        if rest:
            raise UsageError(_uneven(self.num_samples, self.batch_size, world.size))
        return share


class EvalSampler(_PositionSampler):
    """This rank's part of one pass over all samples, in order; each counts exactly once over all ranks.

    Global step s takes the next W * B positions, rank r the r-th block of B consecutive ones. The last step is split
    evenly as well: it is padded by less than W positions >= num_samples, for which the dataset returns any sample with
    weight 0. So every rank has the same number of steps, of the same sizes, for any N, even 1. With N=11, B=2:

        world 2, rank 0     0 1     | 4 5     | 8 9
                 rank 1         2 3 |     6 7 |     10 (11)

    The epoch is always 0: an evaluation does not depend on when it is run.

    Args:
        num_samples: N, samples of the set (or subset).
        batch_size: B, per rank: the DataLoader's.

    Raises:
        UsageError: There are no samples.
    """

    shuffle = False
    drop_last = False

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((0, position) for span in self._spans(World.current()) for position in span)

    def __len__(self) -> int:
        # N / W rounded up: B for each whole step, and the padded share of the last one.
        return -(-self.num_samples // World.current().size)

    def upcoming(self, batch_size: int) -> Upcoming:
        """Describe this rank's positions in an epoch, for a loader whose batches have this size."""
        world = World.current()
        step = world.size * self.batch_size
        whole_steps, rest = divmod(self.num_samples, step)
        return Upcoming(
            step=step,
            share=self.batch_size,
            rank=world.rank,
            whole_steps=whole_steps,
            last_share=-(-rest // world.size),  # rounded up: the rest is padded to an equal number for each rank
            batch_size=batch_size,
        )

    def _spans(self, world: World) -> Iterator[range]:
        """Yield this rank's positions, step by step."""
        for begin in range(0, self.num_samples, world.size * self.batch_size):
            # B, or in a last step the remaining positions over W, rounded up.
            share = min(self.batch_size, -(-(self.num_samples - begin) // world.size))
            first = begin + world.rank * share
            yield range(first, first + share)


def _uneven(num_samples: int, batch_size: int, size: int) -> str:
    """Word the error for a global batch that the world size does not divide, with the nearest choices that work."""
    below = batch_size // size * size
    batches = [str(batch) for batch in (below, below + size) if 0 < batch <= num_samples]
    # Never empty: 1 divides every batch, and `size` is at least 2, because it does not divide this one.
    processes = max(count for count in range(1, size) if batch_size % count == 0)
    advice = f"a batch size of {' or '.join(batches)}, or " if batches else ""
    return (
        f"the global batch of {batch_size} samples cannot be split evenly over {size} processes; "
        f"choose {advice}{processes} process{'es' if processes > 1 else ''}"
    )
