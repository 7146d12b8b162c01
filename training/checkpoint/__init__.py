"""Stopping and going on: what a run's state is, how it is written, found again and put back."""
