"""The parts of `end_early.py`: a run that is ended early, and what became of it."""
