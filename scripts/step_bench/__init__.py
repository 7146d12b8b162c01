"""The parts of `bench_step.py`, which the parts of `on_gpu.py` that take training steps use as well.

`ladder` lists the ways to compute a step, `step` takes one, `measure` compares the ways, `feeding` compares a set with
constant tensors, `profiling` tells where the time goes, `timing` is the clock.
"""
