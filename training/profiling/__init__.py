"""What each stage of loading costs, alone and together, and how fast a run trains.

    profile (the command)
      stages       fetch -> check -> inflate -> decode image, depth -> warp (-> to tensors -> collate)
      cold_reads   fetch and the whole chain, after the caches dropped the samples (pagecache: the kernel's)
      transfer     a batch to the GPU
      requests     which bytes are asked for, in how many requests
      bottleneck   which stage bounds a worker, and what would help
      stopwatch    times work, several times over, by wall clock and CPU

`stages` also decides which samples are measured (`Work`).

Three are not part of the command but of every training run: `monitor` logs samples per second and the share of time
spent waiting for data (`timeline`: by the clock of the device; `rank_waits`: of the rank that waits most);
`train_progress` is the bar, and `run_clock` tells it how long the run will take.
"""
