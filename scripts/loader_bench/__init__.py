"""The parts of `bench_loader.py`: the functions that views are compared with."""
