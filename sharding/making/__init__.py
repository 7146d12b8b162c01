"""From a source to a finished set; a run that was killed is resumed by the same command.

    create              options and source -> plan; a finished set of the same terms (same_set) is left as it is
    plan                what is to be made: for a folder the shards as well, shuffled
    from_folder         each shard made whole by one process (shard_job)
    from_archive        read once; workers encode ahead, shards are written in the order of the archive
    packing, encode     files of a sample -> its parts (depth, valid: decoded to check them) -> compressed tar members
    open_shard          members -> shard, written and hashed on a thread
    ledger              a line for each finished shard, and the resume point of the archive
    finish              ledger -> quarantine, index and, last, the manifest

`target` is where all of it is written: a folder, or an object store (`remote_target`). `index_tars` makes a set around
existing WebDataset tars instead.
"""
