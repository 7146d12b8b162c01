"""The other way to load: whole shards in sequence, through webdataset, instead of samples by the index.

It takes the place of the datasets of `training.loading`, under the same sampler and loader:

    shares          which stretch of which shard each rank and worker reads in an epoch, as arithmetic
    shard_stream    one shard -> tar stream, from a file, an object, or a command (--pipe)
    pipe_command    the command of --pipe -> a script of the shell with the shard's address as its parameter
    member_walk     tar stream -> wanted members, checked; stops after the last one
    pipeline        members -> samples -> shuffle buffer -> decoded samples, by position
    datasets        decoded samples -> augmentation -> items, as `training.loading.dataset` makes them

`options` makes settings of the command line's options, and tells what streaming does not guarantee.
"""
