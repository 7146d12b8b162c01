"""The parts of `bench_shard.py`.

`parts` has the options, and which programs run on which input. `turns` runs the programs in turn, and `process_tree`
samples the CPU time and memory of each. `inputs` generates archives and folders from the toy world. `virtual_archive`
is a `.tar.gz` that is generated while it is read, and `archive_server` serves it over HTTP.
"""
