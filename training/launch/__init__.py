"""Which processes compute a run, and how they end together.

`devices` finds the devices of this node, and whether `torchrun`, SLURM or Lightning starts the processes. `world` is
the rank and size of the process group, asked for when they are needed. `processes` wraps training: when one rank fails,
the others end and report it. `worker_errors` turns the errors of loader workers into plain messages.
"""
