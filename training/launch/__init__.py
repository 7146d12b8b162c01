"""Which processes compute a run, and how they end together.

`devices` finds the devices of this node, and whether `torchrun`, SLURM or Lightning starts the processes. `world` is
the rank and size of the process group, asked for when they are needed. `memory` is what is free on the devices, agreed
among the ranks. `group` bounds and ends the process group, and compares what the ranks are about to do. `processes`
wraps training: when one rank fails, the others end and report it. `worker_errors` and `out_of_memory` turn errors of
loader workers, and of a device without memory, into plain messages. `late_value` reads a number of a device without
waiting for all of its work.
"""
