"""What a set is on the disk (docs/format.md), from the whole to its parts.

    SET/
      manifest.json                 manifest: what the set is and how it was made, hashes of the files; written last
      index.parquet                 index:    one row per sample, with the byte range and checksum of each part
      shards/NAME-000000.tar.zst    shard:    the members of many samples, in a USTAR tar
        KEY.rows.npy                sample:   the parts of a sample, and which depth pixels are valid
        KEY.depth.planes.npy
        KEY.valid.pbm
        KEY.json

`index` defines the columns of the index, `index_rows` holds them in memory as their file does, and `index_checks`
refuses what no set has.

`shard_walk` looks at a tar front to back, whoever made it, by `tar_walk`.

`names` makes and checks keys, and names members and files; `origin` is the place of a sample in its data set, which
the index records; `choices` are the values of preset, check and compression. How the bytes of a part are encoded is not
here but in `sharding.codecs`.

`where` computes a condition on the columns of the index (`--where`), which `where_text` has parsed.
"""
