"""What each stage of loading costs, alone and together: the command `profile`.

profile
work         which samples are measured, and the views and batches that are made of them; without torch
stages       fetch -> check -> inflate -> decode image, depth -> warp image, depth, into the batch
(image_views: images alone -> warp image -> to tensors -> collate)
loaders      the whole through worker processes, and what it costs the training process to take it
cold_reads   fetch and the whole chain, after the caches dropped the samples (pagecache: the kernel's)
transfer     a batch to the GPU
requests     which bytes are asked for, in how many requests
bottleneck   what bounds the rate, and what would help; notes, table: for users
stopwatch    times work, several times over, by wall clock and CPU
"""
