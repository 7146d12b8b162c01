"""Check a finished set: verify it, compare it with its source, inspect it.

    verify              every byte against the manifest, every member against the index, every sample decoded
        against_source      with `--against`: each sample of the source encoded again and compared with the set
        source_samples      all samples of a folder or archive, for this comparison
        fault               what was found wrong, and where
    inspection          counts, sizes and depth statistics; a contact sheet of samples

Nothing is repaired: a fault names the shard and the key.
"""
