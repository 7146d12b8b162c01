"""Which rank waits for its loader: shares of all ranks, brought together without anyone waiting for them.

The other ranks wait for the slowest one in the step's all-reduce, which looks like computing from where they are: rank
0 alone would not tell. Each rank adds its windows in the same order, and each is gathered over a process group of its
own on the CPU, in the background; what has arrived is taken when the next window closes.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

END_S = 30.0
"""Longest wait for the last windows, at the end of training, seconds."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The waits of a window.

    Attributes:
        window: What was added with it.
        share: The largest share of any rank, 0 to 1.
        rank: The rank that has it; the first of several.
    """

    window: Any
    share: float
    rank: int


class RankWaits:
    """Gathers the share of each rank, window by window.

    A process group is made if there are several ranks: all of them must make one of these at the same point.

    Args:
        ranks: Number of ranks.
    """

    def __init__(self, ranks: int) -> None:
        several = ranks > 1 and dist.is_available() and dist.is_initialized()
        self._group = dist.new_group(backend="gloo") if several else None
        self._pending: deque[tuple[Any, list[Tensor], dist.Work | None]] = deque()

    def add(self, window: Any, share: float) -> None:
        """Begin to gather a window; `window` is returned with what arrives."""
        mine = torch.tensor([share], dtype=torch.float64)
        if self._group is None:
            self._pending.append((window, [mine], None))
            return
        shares = [torch.empty_like(mine) for _ in range(dist.get_world_size(self._group))]
        self._pending.append((window, shares, dist.all_gather(shares, mine, group=self._group, async_op=True)))

    def take(self) -> Iterator[Gathered]:
        """Yield the windows that have arrived, oldest first."""
        while self._pending and _has_arrived(self._pending[0][2]):
            window, shares, _ = self._pending.popleft()
            found = torch.cat(shares)
            yield Gathered(window=window, share=float(found.max()), rank=int(found.argmax()))

    def finish(self) -> None:
        """Wait for the windows that are left, but not for a rank that is gone: they are then forgotten."""
        try:
            for _, _, work in self._pending:
                if work is not None:
                    work.wait(timedelta(seconds=END_S))
        except RuntimeError:
            self._pending.clear()


def _has_arrived(work: dist.Work | None) -> bool:
    return work is None or work.is_completed()
