"""The parts of `on_gpu.py`, each a module with its time limit, most important first.

    precision      float32 against the CPU, 16-bit against float32; evaluate and predict against the CPU
    stopping       kill -9, SIGTERM and --resume, bit for bit, between devices too; memory that runs out; checkpoints
    ranks          DDP over NCCL with one process, two processes over gloo, synchronised BatchNorm
    pretraining    simclr and dino, stopped and resumed
    memory         peak bytes against what --micro-batch auto expects
    step           time, memory and losses of a U-Net step, from fastai's as torch ships to what is fastest: the ladder
                   of `bench_step.py`
    feed           training from a set against tensors that are on the device; stalls; transfer; workers; warp
    views          pretraining from a set with views made by workers and on the device, and what those cost the device
    cards          what needs two cards or more

`check` is one result, `bench` the device, the sizes and the data, `runs` starts training in this process and in others
(`forced_ddp` is one of those). Steps on tensors are those of `step_bench`. `runner` gives each part a process of its
own and writes the results as they come.
"""
