"""How long the threads of OpenMP wait in a loop for each other, in this process and those it starts.

torch computes on a CPU with a thread per core, which meet after every operation. By default a thread that is early
spins, for milliseconds; where another process has the core of a thread that is late, all others burn theirs meanwhile.
Measured: docs/results/busy.md.
"""

import os

SPIN_COUNT = "10000"
"""Turns of the loop (some ten microseconds) before a thread sleeps: as fast as the default on an idle machine."""

_CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def spin_briefly() -> None:
    """Set the spin count of GNU's OpenMP, which torch's wheels have, unless the environment has chosen.

    It is read when the library is loaded, so this must come before torch is imported.

    Source: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if not any(name in os.environ for name in _CHOSEN):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
