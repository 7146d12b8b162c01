"""The parts of `bench_store.py`, some of which `measure_heap.py` and `unreliable_link.py` use as well.

`parts` has the options and measures each figure. `epochs` runs epochs of the fine-tuning loader and records waiting,
speed, memory and CPU. `views` makes the set. `server` runs an S3 server and the link in front of it, and `http_peer` is
one HTTP connection of that link.
"""
