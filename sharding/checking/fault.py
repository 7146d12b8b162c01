"""Something wrong with a set, and where."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something wrong with a set.

    Attributes:
        shard: Its name, "" if the fault is the set's.
        key: The sample's key, "" if the fault is the shard's.
        problem: Expected and found.
    """

    shard: str
    key: str
    problem: str

    def __str__(self) -> str:
        place = ", ".join(filter(None, (self.shard, self.key and f"key {self.key}")))
        return f"{place}: {self.problem}" if place else self.problem
