"""What a set is on disk: names, samples, shards, index, manifest."""
