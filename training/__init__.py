"""Order, load, learn: from shard sets to a depth network."""
