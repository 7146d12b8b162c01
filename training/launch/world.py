"""Which process this is, and of how many: the one place that asks torch.distributed for it."""

from dataclasses import dataclass

from torch import distributed


@dataclass(frozen=True)
class World:
    """The processes that train or evaluate together, seen from one of them.

    Read it when it is needed (`World.current()`), never when an object is built: samplers and loaders are made
    before Lightning starts the process group, and a rank read too early is always 0 of 1.

    Attributes:
        rank: This process, in [0, size).
        size: Number of processes over all nodes, at least 1.

    Raises:
        ValueError: The rank is not one of the world's.
    """

    rank: int
    size: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank must be in [0, size), was rank {self.rank} of size {self.size}")

    @classmethod
    def current(cls) -> "World":
        """Return the process group's world if one is initialised, else the world of one process."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls(0, 1)
