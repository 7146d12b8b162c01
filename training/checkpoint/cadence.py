"""How often a run is saved."""

import re
from dataclasses import dataclass

from sharding.errors import UsageError

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}  # seconds


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """A number of optimizer steps or of seconds after which a run is saved; each epoch's end is saved anyway.

    Attributes:
        steps: Optimizer steps between two checkpoints; None for no limit.
        seconds: Seconds between two checkpoints; None for no limit.
    """

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Cadence":
        """Read "15min", "2h", "90s", "500steps" or "epoch".

        Raises:
            UsageError: It is none of these.
        """
        if text == "epoch":
            return cls()
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?(steps|s|min|h)", text)
        if found is None or not float(found[1]) > 0 or (found[2] == "steps" and "." in found[1]):
            raise UsageError(f"--checkpoint-every {text}: expected a time such as 15min, 500steps, or epoch")
        number, unit = found.groups()
        return cls(steps=int(number)) if unit == "steps" else cls(seconds=float(number) * _UNITS[unit])

    def due(self, steps: int, seconds: float) -> bool:
        """Return whether it is time to save, so many steps and seconds after the last checkpoint."""
        return (self.steps is not None and steps >= self.steps) or (
            self.seconds is not None and seconds >= self.seconds
        )
