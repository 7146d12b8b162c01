"""Read a finished set: from row numbers to decoded samples, and pictures of them.

`shard_set` opens a set: it reads manifest and index, and selects a subset. `columns` has the columns of the index that
reading needs, as arrays that worker processes can share. `reader` does the work:

    rows -> byte ranges -> merged reads -> checksums -> unpacked members -> `decoders` -> decoded samples

`pictures` draws samples as contact sheets; `webdataset_decoder` decodes the same members for a WebDataset pipeline.
"""
