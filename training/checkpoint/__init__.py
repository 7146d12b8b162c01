"""Stop and resume: what the state of a run is, how it is saved, found again and restored.

    saving:     counter (state)  ->  keeper (cadence, stop)  ->  writer  ->  last.ckpt, last-1.ckpt
    resuming:   last.ckpt, last-1.ckpt  ->  newest  ->  counter (state)  ->  sampler, loops, seeds

`state` holds which samples a run has trained on, as a few numbers. `counter` updates it at each step, puts it into the
checkpoints, and makes a resumed run start from it: the sampler of `training.loading`, Lightning's own counters
(`loops`) and the global random generators, which `seeds` sets from the state at each micro-batch. `keeper` saves
as often as `cadence` wants, at each epoch's end, and when `stop` has received a signal. `writer` writes a file whole or
not at all; `newest` finds the last one that is not damaged.
"""
