"""The parts of `bench_shard.py`."""
