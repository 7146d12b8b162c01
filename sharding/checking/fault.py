"""Something wrong with a set, and where."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something wrong with a set.

    Attributes:
        shard: Name of the shard, "" for a fault of the set.
        key: Key of the sample, "" for a fault of the shard.
        problem: What was expected and what was found.
    """

    shard: str
    key: str
    problem: str

    def __str__(self) -> str:
        place = ", ".join(filter(None, (self.shard, self.key and f"key {self.key}")))
        return f"{place}: {self.problem}" if place else self.problem
