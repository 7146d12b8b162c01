"""What each stage of loading costs, alone and together, and how fast a run trains.

    profile (the command)
      work         which samples are measured, and the views and batches that are made of them; without torch
      stages       fetch -> check -> inflate -> decode image, depth -> warp image, depth, into the batch
                   (image_views: images alone -> warp image -> to tensors -> collate)
      loaders      the whole through worker processes, and what it costs the training process to take it
      cold_reads   fetch and the whole chain, after the caches dropped the samples (pagecache: the kernel's)
      transfer     a batch to the GPU
      requests     which bytes are asked for, in how many requests
      bottleneck   what bounds the rate, and what would help; notes, table: for users
      stopwatch    times work, several times over, by wall clock and CPU

Three are not part of the command but of every training run: `monitor` logs samples per second and the share of time
spent waiting for data (`timeline`: by the clock of the device; `rank_waits`: of the rank that waits most);
`train_progress` is the bar, and `run_clock` tells it how long the run will take.
"""
