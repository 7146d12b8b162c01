"""A tar, tar.gz or tar.zst from a file or URL, member by member.

    byte_source (a file) | url_source (http, s3, ...)     bytes at any offset
         blocks         what was read last and a little ahead of it, in memory, of an object behind a URL
         http_object    a file of a web server, one connection; http_answers checks what the server says
        -> archive                                        one stream of plain bytes, from any offset
             gzip_stream    inflates .tar.gz on all cores and takes seek points on the way
             stream_ends    finds where one of several gzip streams ends
             seek_point     what a later run needs to enter a gzip file in its middle
             md5            hashes the compressed file; its state can be saved
        -> members                                        files of the tar, in order

`fingerprint` identifies an archive by its two ends, without reading all of it.
"""
