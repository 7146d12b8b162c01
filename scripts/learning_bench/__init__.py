"""The parts of `toy_verdicts.py` and `ablations.py`: sets of the toy world, runs of commands, and changed networks."""
