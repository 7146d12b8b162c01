"""What a set is made from: files, what their names mean, and which of them make a sample.

    folder (walk) -> layout (diode | megadepth) -> pairing            all names are known: complete and refused samples
    archive -> arrivals (layout, joiner) -> samples, boundaries       in the order of the archive, cut into shards
                 spool                        files that wait for others of their sample, in memory and on disk
                 resume_point                 a boundary as it is saved: where a later run resumes

`source` has what folder and archive share; `published` has sizes, checksums and counts of the published archives.
"""
