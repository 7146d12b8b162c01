"""From positions of an epoch to batches, in the training process and its loader workers.

In the training process:

    order           permutation of an epoch -> shared_order, in shared memory that the workers map
    sampler         positions of this rank  -> loader, which cuts them into batches and deals them to the workers

In a loader worker, for each batch of positions:

    dataset         position -> row (shared_order, shared_columns) -> stored bytes (read_ahead) -> sample with depth
    images          the same for images alone: decoded one by one, or left as the files they are
    decode          payloads -> image, and depth that is 0 where it is not valid
    augment         random draws -> warp (one geometry for image and depth), and factors of colour
    view            sample, warp -> the pixels of a view, written to their place
    view_batch      the views of a batch, one after the other, into a block of `shared_batch`
    shared_batch    one block of shared memory for all tensors of a batch -> training process

`upcoming` computes which batches a worker is asked for next: `read_ahead` fetches these while the present one is
decoded. `worker` sets a worker process up and ends it with its trainer. `reading_cost` tells what an epoch will read,
and `shared_need` how much shared memory batches will take. `item` makes tensors of a sample that is not augmented.
"""
