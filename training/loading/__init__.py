"""From positions of an epoch to batches: order, sampler, dataset, one warp, loader."""
