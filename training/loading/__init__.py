"""From positions of an epoch to batches, in the training process and its loader workers.

In the training process:

    order           permutation of an epoch -> shared_order, in shared memory that the workers map
    sampler         positions of this rank  -> loader, which cuts them into batches and deals them to the workers

In a loader worker, for each batch of positions:

    dataset         position -> row (shared_order, shared_columns) -> stored bytes (read_ahead) -> sample with depth
    images          the same for images alone: decoded one by one, or left as the files they are
    augment         sample -> warp (one geometry for image, depth and valid) -> colour; `dataset` makes tensors of it
    shared_batch    items -> one block of shared memory -> training process

`upcoming` computes which batches a worker is asked for next: `read_ahead` fetches these while the present one is
decoded. `worker` sets a worker process up and ends it with its trainer. `reading_cost` tells what an epoch will read.
"""
