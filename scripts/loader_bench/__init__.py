"""The parts of `bench_loader.py`: views in every encoding, each loader as its docs recommend, bare loops, figures.

A way of loading is measured in a process of its own (`turn.py`). `reference.py` is what views are compared with.
"""
